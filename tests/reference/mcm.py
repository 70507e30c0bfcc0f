"""MCM's score in plain loops."""

import math


def score(image, id_embeddings, temperature):
    """The largest softmax share among the ID classes, one image, in Python's floats."""
    logits = [sum(a * b for a, b in zip(image.tolist(), label.tolist(), strict=True)) for label in id_embeddings]
    logits = [logit / temperature for logit in logits]
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return max(weights) / sum(weights)
