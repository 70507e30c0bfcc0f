"""NegLabel's mining and score in plain loops."""

import torch


def mine(corpus, id_embeddings, is_noun, fraction, quantile, guard=None):
    """Positions of the kept words: nouns by rising similarity, then adjectives. CSP's guard puts duplicates last."""
    similarity = []
    for word in corpus:
        cosines = word @ id_embeddings.T
        guarded = guard is not None and cosines.max().item() > guard
        similarity.append(1.0 if guarded else torch.quantile(cosines, quantile, interpolation="linear").item())
    chosen = []
    for wanted in (True, False):
        positions = [i for i, noun in enumerate(is_noun) if noun == wanted]
        ranked = sorted(positions, key=lambda i: similarity[i])
        chosen += ranked[: int(len(positions) * fraction)]
    return chosen, similarity


def score(image, id_embeddings, negatives, num_groups, temperature, seed):
    """Mean over groups of the ID classes' softmax share, one image, float64."""
    negatives = negatives[: len(negatives) - len(negatives) % num_groups]
    order = torch.randperm(len(negatives), generator=torch.Generator().manual_seed(seed)).tolist()
    size = len(negatives) // num_groups
    shares = []
    for g in range(num_groups):
        group = torch.stack([negatives[i] for i in order[g * size : (g + 1) * size]])
        logits = torch.cat([id_embeddings @ image, group @ image]).double() / temperature
        shares.append(logits.softmax(0)[: len(id_embeddings)].sum().item())
    return sum(shares) / num_groups
