"""The rows of NegLabel's Table 12 and the similarities of Table 17, one image, in plain loops."""

import math


def cosine(image, label):
    return sum(a * b for a, b in zip(image, label, strict=True))


def l1(image, label):
    return -sum(abs(a - b) for a, b in zip(image, label, strict=True))


def kl(image, label):
    masses = sum(map(math.exp, image)), sum(map(math.exp, label))
    image, label = ([math.exp(a) / mass for a in x] for x, mass in zip((image, label), masses, strict=True))
    return -sum(p * math.log(p / q) for p, q in zip(image, label, strict=True))


def row_1(ids, negatives, tau, threshold, weight):
    return sum(ids) - weight * sum(negatives)


def row_2(ids, negatives, tau, threshold, weight):
    return max(ids)


def row_3(ids, negatives, tau, threshold, weight):
    return sum(s >= threshold for s in ids) - weight * sum(s >= threshold for s in negatives)


def row_4(ids, negatives, tau, threshold, weight):
    return -sum(s >= threshold for s in negatives)


def row_5(ids, negatives, tau, threshold, weight):
    top = max(ids + negatives)
    ids, negatives = ([math.exp((s - top) / tau) for s in group] for group in (ids, negatives))
    return sum(ids) / (sum(ids) + sum(negatives))


def row_6(ids, negatives, tau, threshold, weight):
    top = max(ids + negatives)
    ids, negatives = ([math.exp((s - top) / tau) for s in group] for group in (ids, negatives))
    return max(ids) / (sum(ids) + sum(negatives))


def row_7(ids, negatives, tau, threshold, weight):
    return sum(ids) / (sum(ids) + sum(negatives))


def row_8(ids, negatives, tau, threshold, weight):
    return max(ids) / (sum(ids) + sum(negatives))


def row_9(ids, negatives, tau, threshold, weight):
    ids, negatives = ([s >= threshold for s in group] for group in (ids, negatives))
    return sum(ids) / (sum(ids) + sum(negatives)) if sum(ids) + sum(negatives) else 0


ROWS = {
    "linear_sum": row_1,
    "linear_max": row_2,
    "linear_binarized": row_3,
    "negative_binarized": row_4,
    "sum_softmax": row_5,
    "max_softmax": row_6,
    "proportional_sum": row_7,
    "proportional_max": row_8,
    "proportional_binarized": row_9,
}


def score(image, id_labels, groups, form, similarity, tau, threshold, weight):
    """The mean of the form over the groups of negatives, all of them lists of numbers."""
    ids = [similarity(image, label) for label in id_labels]
    scores = [ROWS[form](ids, [similarity(image, x) for x in group], tau, threshold, weight) for group in groups]
    return sum(scores) / len(scores)
