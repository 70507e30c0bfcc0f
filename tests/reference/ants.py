"""ANTS in the order of the official code: one batch, one image, one label at a time. The model is a function."""

import re
from collections import Counter

import numpy as np
import torch


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def clean(labels):
    found, seen = [], set()
    for label in labels:
        text = " ".join(label.strip().rstrip(".").split())
        if text and text.casefold() not in seen:
            found.append(text)
            seen.add(text.casefold())
    return found


def numbered(text):
    found = [re.match(r"^\s*\d+[.):-]\s*(.+?)\s*$", line) for line in text.splitlines()]
    return clean([match.group(1) for match in found if match])[:5]


def gamma(values, quantile):
    counts, _ = np.histogram(values, np.arange(0.0, 1.1, 0.1))
    jumps = [abs(counts[i + 1] - counts[i]) for i in range(9)]
    upper = np.arange(0.0, 1.1, 0.1)[jumps.index(max(jumps)) + 1]
    below = [value for value in values if value < upper]
    return float(np.percentile(below or values, quantile * 100))


def otsu(values):
    best, threshold = np.inf, float(np.median(values))
    for step in range(100):
        high = [value for value in values if value >= step / 100]
        low = [value for value in values if value < step / 100]
        if high and low:
            variance = (len(low) * np.var(low) + len(high) * np.var(high)) / len(values)
            if variance < best - 1e-15:
                best, threshold = variance, step / 100
    return threshold


class ANTS:
    def __init__(self, names, id_texts, negatives, describe, suggest, encode, **options):
        """`describe(image number, class)` and `suggest(class)` give answers, `encode(label, raw)` an embedding."""
        self.names, self.id_texts, self.negatives, self.options = names, id_texts, negatives, options
        self.describe, self.suggest, self.encode = describe, suggest, encode
        self.gamma, self.updates, self.batch_number = options["first_gamma"], 0, 0
        self.all_scores, self.predictions, self.waiting = [], [], []
        self.far, self.near, self.cache = [], [], {}
        self.far_history, self.far_balanced, self.near_balanced = [], [], []

    def share(self, image, negatives, size):
        """NegLabel's share in groups; one softmax for a bank that is no larger than a group."""
        count = max(1, len(negatives) // size)
        kept = len(negatives) - len(negatives) % count
        order = torch.randperm(kept, generator=torch.Generator().manual_seed(0)).tolist()
        groups = np.array([negatives[i] for i in order]).reshape(count, kept // count, -1)
        shares = []
        for group in groups:
            logits = np.concatenate([self.id_texts, group]) @ image / self.options["temperature"]
            shares.append(softmax(logits)[: len(self.id_texts)].sum())
        return float(np.mean(shares))

    def batch(self, images, numbers):
        options = self.options
        self.batch_number += 1
        base = [self.share(image, self.negatives, options["group_size"]) for image in images]
        predicted = [int((self.id_texts @ image).argmax()) for image in images]
        self.predictions += predicted
        self.all_scores += base
        if options["space"] != "near" and self.updates < options["max_updates"]:
            for number, prediction, score in zip(numbers, predicted, base, strict=True):
                if score < self.gamma:
                    self.waiting.append((number, prediction))
            if len(self.waiting) > options.get("min_candidates", 200):
                self.gamma = gamma(self.all_scores, options["quantile"])
                labels = clean([self.describe(number, self.names[i]) for number, i in self.waiting])
                self.far = ([self.encode(label, True) for label in labels] + self.far)[
                    -options.get("max_far", 10_000) :
                ]
                self.waiting, self.updates = [], self.updates + 1
        past = self.batch_number - options["first_batch"]
        if options["space"] != "far" and past >= 0 and past % options["interval"] == 0:
            frequent = [i for i, _ in Counter(self.predictions).most_common(40)]
            for i in frequent:
                if i not in self.cache:
                    self.cache[i] = numbered(self.suggest(self.names[i]))
            self.cache = {i: labels for i, labels in self.cache.items() if i in frequent}
            labels = clean([label for own in self.cache.values() for label in own])
            self.near = [self.encode(label, False) for label in labels]
        far = self.far_scores(images) if self.far else base
        near = [self.share(image, self.near, options["group_size"]) for image in images] if self.near else base
        if options["space"] != "adaptive":
            return far if options["space"] == "far" else near
        for history, negatives in ((self.far_balanced, self.far), (self.near_balanced, self.near * 10)):
            size = len(self.id_texts)
            history += [self.share(image, negatives, size) for image in images] if negatives else base
        doubts = 1 - np.mean(self.far_balanced), 1 - np.mean(self.near_balanced)
        weight = doubts[0] / sum(doubts)
        return [weight * f + (1 - weight) * n for f, n in zip(far, near, strict=True)]

    def far_scores(self, images):
        options, num_id = self.options, len(self.id_texts)
        plain = [self.share(image, self.far, options["group_size"]) for image in images]
        if options["num_active"] is None:
            return plain
        self.far_history = (self.far_history + plain)[-20_000:]
        threshold = otsu(self.far_history)
        high = [score > threshold + options["gap"] * (1 - threshold) for score in plain]
        low = [score < threshold - options["gap"] * threshold for score in plain]
        if not any(high) or not any(low):
            return plain
        logits = np.array([np.concatenate([self.id_texts, self.far]) @ image for image in images])
        logits /= options["temperature"]
        shares = np.array([softmax(row)[num_id:] for row in logits])
        relevance = shares[low].mean(axis=0) - shares[high].mean(axis=0)
        words = sorted(range(len(relevance)), key=lambda word: -relevance[word])[: options["num_active"]]
        step, result = options["prefix_step"], []
        for row in logits:
            masses = np.exp(np.concatenate([row[:num_id], row[num_id:][words]]) - row.max())
            ends = sorted({*range(num_id + step, len(masses) + 1, step), len(masses)})
            result.append(float(np.mean([masses[:num_id].sum() / masses[:end].sum() for end in ends])))
        return result
