"""LSN's losses and score, written out slowly. Imports nothing from neglab."""

import math

from reference.coop import cosine, cross_entropy, softmax


def negative_loss(images, sets, labels, temperature, double_softmax=False):
    """Eq. 5 and 6 summed over the K sets; `sets[k][c]` is an embedding."""
    total = 0.0
    for image, label in zip(images, labels, strict=True):
        for texts in sets:
            logits = [1 / temperature - cosine(image, text) / temperature for text in texts]
            total += cross_entropy(logits, label, double_softmax)
    return total / len(images)


def absolute_sum(sets):
    """Eq. 7."""
    total = 0.0
    for c in range(len(sets[0])):
        for i in range(len(sets)):
            for j in range(i + 1, len(sets)):
                total += abs(cosine(sets[i][c], sets[j][c]))
    return total


def official_penalty(sets, own):
    """The official code's, for the set that trains: mean over classes of its mean signed cosine with the others."""
    num_classes = len(sets[0])
    others = [k for k in range(len(sets)) if k != own]
    return (
        sum(sum(cosine(sets[own][c], sets[k][c]) for k in others) / len(others) for c in range(num_classes))
        / num_classes
    )


def paper_score(image, positives, sets, temperature=1.0, negative_temperature=5.0):
    """Eq. 9 and 12 to 14, the mean over sets."""
    positive = max(softmax([cosine(image, text) / temperature for text in positives]))
    lowest = [min(softmax([cosine(image, text) / negative_temperature for text in texts])) for texts in sets]
    return positive - sum(lowest) / len(lowest)


def official_score(image, positives, sets, temperature=1.0, negative_temperature=5.0):
    """main_feature_100_upload.py:155-257 in float64."""
    positive = max(softmax([cosine(image, text) / temperature for text in positives]))
    highest = [max(softmax([(1 - cosine(image, text)) / negative_temperature for text in texts])) for texts in sets]
    return positive + sum(highest) / len(highest)


def double_softmax_bounds(num_classes):
    """Between which the cross entropy of shares lies: a share of 1 for the class, or for another."""
    return math.log(1 + (num_classes - 1) / math.e), math.log(num_classes - 1 + math.e)
