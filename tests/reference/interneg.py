"""InterNeg with plain loops: one class, one word, one image and one whole 77-token prompt at a time.

`model` and `tokenizer` are open_clip's own.
"""

import random

import torch

from . import neglabel

MARK = 259  # "$" in CLIP's vocabulary


def prototypes(images, labels, num_classes):
    means = []
    for c in range(num_classes):
        total = sum(image for image, label in zip(images, labels, strict=True) if label == c)
        means.append(total / total.norm())
    return torch.stack(means)


def judge(text, id_embeddings, means):
    """Whether a text is farther from every class than the class's name, and its mean deviation."""
    distances = [1 - float(text @ mean) for mean in means]
    base = [1 - float(name @ mean) for name, mean in zip(id_embeddings, means, strict=True)]
    passes = all(d > b for d, b in zip(distances, base, strict=True))
    return passes, sum(d - b for d, b in zip(distances, base, strict=True)) / len(base)


def select(corpus, is_noun, removed, id_embeddings, means, number, joint, minimum=0):
    """Positions of the chosen words."""
    judged = [judge(word, id_embeddings, means) for word in corpus]
    passing = [i for i, (passes, _) in enumerate(judged) if passes and not removed[i]]
    ranked = sorted(passing, key=lambda i: -judged[i][1])
    if joint:
        return ranked[:number]
    adjectives = [i for i in ranked if not is_noun[i]]
    nouns = [i for i in ranked if is_noun[i]]
    quota = int(number * (len(adjectives) / len(passing)))
    return adjectives[: max(minimum, quota)] + nouns[: max(minimum, number - quota)]


def intra_similarity(text, id_embeddings, quantile):
    """OpenOOD-VLM's: the sorted cosines at a whole index."""
    cosines = sorted(float(text @ name) for name in id_embeddings)
    return cosines[int(quantile * len(cosines))]


def encode(model, ids, vectors, places):
    """One whole prompt with vectors in some places, through open_clip's own parts."""
    tokens = model.token_embedding(ids).detach().clone()
    index = torch.tensor(places)[:, None].expand(-1, tokens.shape[1])
    hidden = tokens.scatter(0, index, vectors) + model.positional_embedding
    hidden = model.ln_final(model.transformer(hidden[None], attn_mask=model.attn_mask))[0, ids.argmax()]
    hidden = hidden @ model.text_projection
    return hidden / hidden.norm()


def adamw(value, gradient, memory, step, lr=2e-2, decay=1e-2):
    """One step of AdamW (Loshchilov and Hutter, Algorithm 2), torch's defaults for the rest."""
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    m, v = memory["m"] / (1 - 0.9**step), memory["v"] / (1 - 0.999**step)
    return value - lr * decay * value - lr * m / (v.sqrt() + 1e-8)


def invert(model, tokenizer, texts, vectors, image, batch, find_places, repelled=(), weight=0.0):
    """`texts`: the prompt of each step; the loss is an image's share in the mean over `batch` images."""
    memory = {}
    for step, text in enumerate(texts, start=1):
        ids = tokenizer([text])[0]
        vectors = vectors.detach().requires_grad_()
        found = encode(model, ids, vectors, find_places(ids))
        loss = (1 - found @ image) / batch
        for mean in repelled:
            loss = loss + weight * (1 + found @ mean) / len(repelled) / batch
        loss.backward()
        vectors = adamw(vectors.detach(), vectors.grad, memory, step)
    return encode(model, ids, vectors, find_places(ids)).detach()


def marks(ids):
    return [i for i, token in enumerate(ids.tolist()) if token == MARK]


def run(model, tokenizer, batches, id_embeddings, negatives, means, templates, knobs):
    """Scores of each batch and the number of extras after it. `knobs` as in the YAML."""
    rng, extras, scores, sizes = random.Random(knobs["seed"]), [], [], []
    groups, temperature = knobs["num_groups"], knobs["temperature"]

    def score(image, kept):
        labels = torch.stack([*negatives, *[text for _, text in kept]])
        return neglabel.score(image, id_embeddings, labels, groups, temperature, 0)

    for batch in batches:
        own = [score(image, extras) for image in batch]
        beta = knobs["threshold"]
        active = [i for i, s in enumerate(own) if s < beta or (s == beta and not knobs["strict_threshold"])]
        drawn = [rng.choices(range(len(templates)), k=len(active)) for _ in range(knobs["steps"] if active else 0)]
        generator, accepted = torch.Generator().manual_seed(0), []
        count, width = knobs["num_tokens"], model.token_embedding.weight.shape[1]
        start = torch.randn(len(active), count, width, generator=generator) * 0.02
        for row, i in enumerate(active):
            words = " ".join(["$"] * count)
            texts = [templates[step[row]].replace("{}", f" {words} ") for step in drawn]
            text = invert(model, tokenizer, texts, start[row], batch[i], len(active), marks)
            passes, degree = judge(text, id_embeddings, means)
            if passes:
                accepted.append(i)
                extras.append((degree, text))
        extras = sorted(extras, key=lambda pair: -pair[0])[: knobs["num_extras"]]
        if accepted:
            again = [score(image, extras) for image in batch]
            own = (
                again
                if knobs["rescore"] == "batch"
                else [b if i in accepted else a for i, (a, b) in enumerate(zip(own, again, strict=True))]
            )
        scores.append(own)
        sizes.append(len(extras))
    return scores, sizes
