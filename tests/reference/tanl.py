"""TANL in the order of the official code: one image, one threshold, one prefix at a time."""

import numpy as np


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def fuse(logits, num_id, step):
    """The ID share; with a step, its mean over growing prefixes of the negatives."""
    ends = [len(logits)] if step == 0 else [min(i + step, len(logits)) for i in range(num_id, len(logits), step)]
    return float(np.mean([softmax(logits[:end])[:num_id].sum() for end in ends]))


def fuse_weighted(logits, num_id, weights, weighting):
    logits = logits * weights if weighting == "inside" else logits + np.log(weights)
    return float(softmax(logits)[:num_id].sum())


def otsu(values):
    values = np.asarray(values, dtype=np.float64)
    criteria = []
    for step in range(100):
        above, below = values[values >= step / 100], values[values < step / 100]
        if len(above) == 0 or len(below) == 0:
            criteria.append(np.inf)
        else:
            criteria.append((len(below) * below.var() + len(above) * above.var()) / len(values))
    candidates = [i for i in range(100) if criteria[i] <= min(criteria) + 1e-15]
    return candidates[len(candidates) // 2] / 100


class TANL:
    def __init__(self, id_texts, pool, id_order, noise, *, temperature, beta, step, weighting, alpha, gap, length):
        """`id_order`: the random order of the ID texts. Arrays of float64."""
        self.id_texts, self.pool, self.num_id = id_texts, pool, len(id_texts)
        self.temperature, self.beta, self.step, self.weighting = temperature, beta, step, weighting
        self.alpha, self.gap, self.length = alpha, gap, length
        self.from_id = [self.activate(id_texts[i]) for i in id_order][-length:]
        self.from_ood = [self.activate(row) for row in noise][-length:]
        words = self.top(np.mean(self.from_ood, 0) - np.mean(self.from_id, 0))
        self.queue = [self.score(row, words) for row in [*id_texts, *noise]]
        self.thresholds = []

    def logits(self, image, labels):
        return np.array([label @ image for label in labels]) / self.temperature

    def activate(self, image):
        return softmax(self.logits(image, np.concatenate([self.id_texts, self.pool])))[self.num_id :]

    def top(self, activation):
        return sorted(range(len(self.pool)), key=lambda word: -activation[word])[: self.beta]

    def score(self, image, words):
        return fuse(self.logits(image, np.concatenate([self.id_texts, self.pool[words]])), self.num_id, self.step)

    def batch(self, images):
        mean_id, mean_ood = np.mean(self.from_id, 0), np.mean(self.from_ood, 0)
        words = self.top(mean_ood - mean_id)
        gate = [self.score(image, words) for image in images]
        self.queue = (self.queue + gate)[-20_000:]
        threshold = otsu(self.queue)
        self.thresholds.append(threshold)
        upper, lower = threshold + self.gap * (1 - threshold), threshold - self.gap * threshold
        new_id = [self.activate(images[i]) for i in range(len(images)) if gate[i] > upper]
        new_ood = [self.activate(images[i]) for i in range(len(images)) if gate[i] < lower]
        if new_id:
            mean_id = self.alpha * mean_id + (1 - self.alpha) * np.mean(new_id, 0)
        if new_ood:
            mean_ood = self.alpha * mean_ood + (1 - self.alpha) * np.mean(new_ood, 0)
        activation = mean_ood - mean_id
        words = self.top(activation)
        self.from_id = (self.from_id + new_id)[-self.length :]
        self.from_ood = (self.from_ood + new_ood)[-self.length :]
        if self.weighting == "none":
            return [self.score(image, words) for image in images]
        positive = np.maximum(activation[words], 0)
        weights = np.concatenate([np.ones(self.num_id), positive / positive.mean()])
        labels = np.concatenate([self.id_texts, self.pool[words]])
        with np.errstate(divide="ignore"):  # weight 0 is a logit of minus infinity
            return [fuse_weighted(self.logits(h, labels), self.num_id, weights, self.weighting) for h in images]


# Logits of three ID classes and four words, weights of all, and the specification's scores by step and by weighting.
FIXTURE = [[5, 3, 1, 4, 2, 0, -1], [1, 1, 1, 4, 3, 2, 0]]
FIXTURE_BY_STEP = {
    0: [0.7299121, 0.0893901],
    1: [0.7383454, 0.1020413],
    2: [0.7320527, 0.0939164],
    3: [0.7304853, 0.0898855],
}
FIXTURE_WEIGHTS = [1, 1, 1, 2, 1.5, 0.3, 0.2]
FIXTURE_WEIGHTED = {"inside": [0.0539422, 0.0026460], "outside": [0.5866198, 0.0544033]}
OTSU = [
    ([0.02, 0.05, 0.11, 0.12, 0.40, 0.55, 0.81, 0.90, 0.97, 0.99], 0.48),
    ([0.9] * 5 + [0.95] * 3, 0.93),
    ([0.5] * 7, 0.50),
    ([0.0, 1.0], 0.50),
]
