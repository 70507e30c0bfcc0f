"""AdaNeg as the official code loops: one image at a time, the whole memory, one proxy per label and image."""

import math

import torch

from . import neglabel


class AdaNeg:
    """The official memory has L + 1 slots; slot 0 is the text, slot L is never written."""

    def __init__(self, id_texts, negatives, length, *, num_groups=4, temperature=0.1, seed=0, proxies="task",
                 adaptive_gap=False, threshold=0.5, gap=0.1, beta=5, static_weight=0.1):  # fmt: skip
        self.texts, self.num_id, self.length = torch.cat([id_texts, negatives]), len(id_texts), length
        self.num_groups, self.temperature, self.seed = num_groups, temperature, seed
        self.proxies, self.adaptive_gap, self.threshold, self.gap = proxies, adaptive_gap, threshold, gap
        self.beta, self.static_weight = beta, static_weight
        self.memory = [[text] + [torch.zeros_like(text)] * length for text in self.texts]
        self.entropies = [[0.0] * (length + 1) for _ in self.texts]
        self.next = [1] * len(self.texts)
        self.recent = [1, 0] * 100

    def step(self, images):
        static = [self.grouped(image, self.texts) for image in images]
        upper = self.threshold + self.gap * (1 - self.threshold)
        lower = self.threshold - self.gap * self.threshold
        if self.adaptive_gap:
            for estimate in [1 for s in static if s > upper] + [0 for s in static if s < lower]:
                if len(self.recent) >= 10_000:
                    self.recent.pop(0)
                self.recent.append(estimate)
            ratio = sum(self.recent) / len(self.recent)
            if ratio > 0.5:
                lower = self.threshold - ratio * self.threshold
            elif ratio < 0.5:
                upper = self.threshold + (1 - ratio) * (1 - self.threshold)
        for image, s in zip(images, static, strict=True):
            logits = self.texts @ image / self.temperature
            if s > upper:
                self.remember(image, logits[: self.num_id], 0)
        for image, s in zip(images, static, strict=True):
            logits = self.texts @ image / self.temperature
            if s < lower:
                self.remember(image, logits[self.num_id :], self.num_id)
        proxies = [torch.stack([self.proxy(label, image) for label in range(len(self.texts))]) for image in images]
        adaptive = [self.grouped(image, own) for image, own in zip(images, proxies, strict=True)]
        self.predicted = [self.predict(image, own) for image, own in zip(images, proxies, strict=True)]
        return [a + self.static_weight * s for a, s in zip(adaptive, static, strict=True)]

    def predict(self, image, proxies):
        """The official argmax over ID classes; the version with the adaptive gap leaves out negatives and lambda."""
        static, adaptive = self.texts @ image / self.temperature, proxies @ image / self.temperature
        if self.adaptive_gap:
            shares = static[: self.num_id].softmax(0) + adaptive[: self.num_id].softmax(0)
        else:
            shares = static.softmax(0) + self.static_weight * adaptive.softmax(0)
        return int(shares[: self.num_id].argmax())

    def grouped(self, image, labels):
        return neglabel.score(
            image, labels[: self.num_id], labels[self.num_id :], self.num_groups, self.temperature, self.seed
        )

    def remember(self, image, logits, first):
        shares = logits.softmax(0)
        self.store(first + int(shares.argmax()), image, -float((shares * (shares + 1e-8).log()).sum()))

    def store(self, label, image, entropy):
        if self.next[label] == self.length:
            if not any(entropy < other for other in self.entropies[label]):
                return
            ascending = sorted(range(self.length + 1), key=lambda slot: self.entropies[label][slot])
            slot = ascending[-1]
        else:
            slot = self.next[label]
            self.next[label] += 1
        self.memory[label][slot], self.entropies[label][slot] = image, entropy

    def proxy(self, label, image):
        total = torch.zeros_like(image)
        for slot in self.memory[label]:
            weight = math.exp(-self.beta * (1 - float(slot @ image))) if self.proxies == "sample" else 1.0
            total = total + weight * slot
        return total / total.norm()

    def counts(self):
        """Images stored, of the labels that have any."""
        return {label: count - 1 for label, count in enumerate(self.next) if count > 1}
