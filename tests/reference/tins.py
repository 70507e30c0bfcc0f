"""TINS with plain loops: one word, one image and one whole 77-token prompt at a time."""

import math

import torch

from . import interneg


def shares(image, id_embeddings, negatives, scale, num_groups, permute=True):
    """The mean over groups of P / (P + C / |g| * sum of g), with plain exponentials in float64."""
    kept = len(negatives) - len(negatives) % num_groups
    order = torch.randperm(kept, generator=torch.Generator().manual_seed(0)).tolist() if permute else range(kept)
    ranked, size = [negatives[i] for i in order], kept // num_groups
    positive = sum(math.exp(scale * float(image @ name)) for name in id_embeddings)
    total = 0.0
    for g in range(num_groups):
        mass = sum(math.exp(scale * float(image @ label)) for label in ranked[g * size : (g + 1) * size])
        total += positive / (positive + len(id_embeddings) / size * mass)
    return total / num_groups


def best_word(image, words, means, weight):
    """Position of the word whose text has the lowest loss; `words` are embeddings of prompted words."""
    losses = [
        1 - float(image @ word) + weight * sum(1 + float(word @ mean) for mean in means) / len(means) for word in words
    ]
    return losses.index(min(losses))


def update(extras, buffer, accepted, num_extras, buffer_size):
    """Bank and buffer, lists of (degree, embedding), after new texts."""
    ranked = sorted([*extras, *accepted], key=lambda pair: -pair[0])
    extras, buffer = ranked[:num_extras], list(buffer)
    if buffer_size is None:
        return extras, buffer
    buffer += ranked[num_extras:]
    if len(buffer) >= buffer_size:
        pool = extras + sorted(buffer, key=lambda pair: -pair[0])[: len(buffer) // 2]
        order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0)).tolist()
        extras, buffer = [pool[i] for i in order[:num_extras]], []
    return extras, buffer


def run(model, tokenizer, batches, id_embeddings, negatives, names, means, knobs):
    """Scores of each batch, and the sizes of bank and buffer after it."""
    extras, buffer, scores, sizes = [], [], [], []
    weight, scale = knobs["repulsion_weight"], 1 / knobs["temperature"]
    words = [model.encode_text(tokenizer([f"a photo of a {name}."])).detach()[0] for name in names]
    words = [word / word.norm() for word in words]

    def score(image, kept):
        return shares(image, id_embeddings, [*negatives, *[text for _, text in kept]], scale, knobs["num_groups"])

    for batch in batches:
        own = [score(image, extras) for image in batch]
        active = [image for image, s in zip(batch, own, strict=True) if s < knobs["threshold"]]
        accepted = []
        for image in active:
            name = names[best_word(image, words, means, weight)]
            place = int((tokenizer([f"a photo of a {name}"])[0] != 0).sum()) - 2
            texts = [f"a photo of a {name}."] * knobs["steps"]
            start = model.token_embedding.weight[tokenizer(texts[:1])[0, place]].detach()[None]
            text = interneg.invert(
                model, tokenizer, texts, start, image, len(active), lambda ids, at=place: [at], means, weight
            )
            passes, degree = interneg.judge(text, id_embeddings, means)
            if passes:
                accepted.append((degree, text))
        if accepted:
            extras, buffer = update(extras, buffer, accepted, knobs["num_extras"], knobs["buffer_size"])
            own = [score(image, extras) for image in batch]
        scores.append(own)
        sizes.append((len(extras), len(buffer)))
    return scores, sizes
