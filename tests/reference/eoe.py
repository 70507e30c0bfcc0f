"""EOE's score and its other forms, one image, in Python's floats."""

import math


def score(id_similarities, outlier_similarities, form, beta, temperature):
    id_logits = [s / temperature for s in id_similarities]
    outlier_logits = [s / temperature for s in outlier_similarities]
    if form == "max_logit":
        return temperature * (max(id_logits) - beta * max(outlier_logits))
    if form == "energy":
        id_mass, outlier_mass = (math.log(sum(map(math.exp, logits))) for logits in (id_logits, outlier_logits))
        return temperature * (id_mass - beta * outlier_mass)
    if form == "max":
        if max(outlier_logits) > max(id_logits):
            id_logits = [1 / len(id_logits)] * len(id_logits)
        return max(map(math.exp, id_logits)) / sum(map(math.exp, id_logits))
    weights = [math.exp(logit) for logit in id_logits + outlier_logits]
    shares = [weight / sum(weights) for weight in weights]
    id_share, outlier_share = max(shares[: len(id_logits)]), max(shares[len(id_logits) :])
    return id_share if form == "msp" else id_share - beta * outlier_share
