"""Scores of the ID similarities alone, one image, in Python's floats, from the formulas of the specification."""

import math

FIXTURE = [[3.0, 1.0, 0.5, -1.0], [1.0, 1.0, 1.0, 1.0], [9.0, 0.0, 0.0, 0.0]]


def softmax(similarities, temperature):
    top = max(similarities)
    weights = [math.exp((s - top) / temperature) for s in similarities]
    return [weight / sum(weights) for weight in weights]


def energy(similarities, temperature):
    top = max(similarities)
    return top + temperature * math.log(sum(math.exp((s - top) / temperature) for s in similarities))


def entropy(similarities, temperature):
    """The negative entropy: the score, not the entropy itself."""
    return sum(p * math.log(p) for p in softmax(similarities, temperature) if p > 0)


def variance(similarities, temperature):
    shares = softmax(similarities, temperature)
    mean = sum(shares) / len(shares)
    return sum((p - mean) ** 2 for p in shares) / len(shares)


def gen(similarities, temperature, gamma, num_top_classes):
    shares = sorted(softmax(similarities, temperature), reverse=True)[:num_top_classes]
    return -sum(p**gamma * (1 - p) ** gamma for p in shares)
