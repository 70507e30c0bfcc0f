"""LoCoOp's and SCT's loss, written out slowly. Imports nothing from neglab.

LoCoOp's official code at a311b39, trainers/locoop.py; SCT's at 371b782, trainers/sct.py.
"""

import math

from reference.coop import cosine, softmax


def loss(images, patches, texts, labels, temperature, num_foreground, weight, calibrated):
    """Cross entropy, less `weight` times the mean entropy of the patches whose top classes lack the image's."""
    losses, entropies = [], []
    for image, places, label in zip(images, patches, labels, strict=True):
        own = softmax([cosine(image, text) / temperature for text in texts])[label]
        losses.append(-math.log(own) * ((1.0000001 - own) if calibrated else 1))
        for patch in places:
            shares = softmax([cosine(patch, text) / temperature for text in texts])
            best = sorted(range(len(texts)), key=lambda c, shares=shares: -shares[c])[:num_foreground]
            if label not in best:
                entropy = -sum(p * math.log(p + 1e-5) for p in shares)
                entropies.append(entropy * ((1e-7 + own) if calibrated else 1))
    return sum(losses) / len(losses) - weight * (sum(entropies) / len(entropies) if entropies else 0)
