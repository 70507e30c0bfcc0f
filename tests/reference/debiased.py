"""Debiased Negative Mining in plain loops, as the official code writes it down."""

import math


def score(cosines, num_id, groups, temperature, purity):
    """`groups`: lists of positions among the negatives. `cosines`: of the ID classes, then of the negatives."""
    exponentials = [math.exp(float(s) / temperature) for s in cosines]
    own, negatives = exponentials[:num_id], exponentials[num_id:]
    shares = []
    for group in groups:
        mean_negative = sum(negatives[j] for j in group) / len(group)
        correction = (mean_negative - (1 - purity) * sum(own) / num_id) / purity
        mass = sum(own) + len(group) * correction
        shares.append(sum(value / mass for value in own) / num_id)
    return sum(shares) / len(shares)


def sparsity(raw, num_neighbours):
    """Of each row of unnormalised features: mean logarithm of its num_neighbours + 1 smallest distances."""
    lengths = [math.sqrt(sum(x * x for x in row)) for row in raw]
    result = []
    for j, row in enumerate(raw):
        distances = []
        for k, other in enumerate(raw):
            cosine = sum(x * y for x, y in zip(row, other, strict=True)) / (lengths[j] * lengths[k])
            distances.append(lengths[j] - 2 * cosine + lengths[k])
        nearest = sorted(distances)[: num_neighbours + 1]
        result.append(sum(map(math.log, nearest)) / len(nearest))
    return result


# With the cosines of the Renyi score's fixture: two groups of two negatives in their order, pi = 1/2, tau = 0.01.
FIXTURE_SCORES = [6.2458421e7, 142.73902, 7.0292600e4]
