"""NegRefine's score, one image at a time, every pair encoded again."""

import math

import torch

from . import neglabel


def score(image, classes, negatives, encode, temperature=0.01, num_groups=4, pair_weight=2.0, k_class=5, k_negative=5):
    """`classes` and `negatives` are lists of (name, embedding); `encode` turns a name into an embedding."""

    def nearest(labels, count):
        return sorted(labels, key=lambda label: -float(image @ label[1]))[:count]

    best = -math.inf
    for class_name, _ in nearest(classes, k_class):
        for negative_name, negative in nearest(negatives, k_negative):
            pair = float(image.double() @ encode(f"{class_name} and {negative_name}").double()) / temperature
            alone = float(image.double() @ negative.double()) / temperature
            best = max(best, 1 / (1 + math.exp(alone - pair)))
    static = neglabel.score(
        image,
        torch.stack([embedding for _, embedding in classes]),
        torch.stack([embedding for _, embedding in negatives]),
        num_groups,
        temperature,
        0,
    )
    return static + pair_weight * best
