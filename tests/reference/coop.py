"""CoOp's and CoCoOp's loss, learning rates and prompts, written out slowly. Imports nothing from neglab."""

import math


def softmax(logits):
    largest = max(logits)
    powers = [math.exp(x - largest) for x in logits]
    return [x / sum(powers) for x in powers]


def cross_entropy(logits, label, double_softmax=False):
    if double_softmax:
        logits = softmax(logits)
    return -math.log(softmax(logits)[label])


def cosine(first, second):
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first) * sum(b * b for b in second))


def loss(images, texts, labels, temperature, double_softmax=False):
    """Mean over the images; `texts` is a list per class, or for CoCoOp a list per image of lists per class."""
    total = 0.0
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        own = texts[i] if isinstance(texts[0][0], list) else texts
        total += cross_entropy([cosine(image, text) / temperature for text in own], label, double_softmax)
    return total / len(images)


def learning_rates(rate, num_epochs, warmup_epochs, warmup_rate):
    """Dassl's ConstantWarmupScheduler around torch's CosineAnnealingLR, step by step."""
    rates, cosine_steps = [], 0
    for epoch in range(num_epochs):
        if epoch < warmup_epochs:
            rates.append(warmup_rate)
        else:
            rates.append(rate * (1 + math.cos(math.pi * cosine_steps / num_epochs)) / 2)
            cosine_steps += 1
    return rates


def meta_net(image, down_weight, down_bias, up_weight, up_bias):
    hidden = [
        max(0.0, b + sum(w * x for w, x in zip(row, image, strict=True)))
        for row, b in zip(down_weight, down_bias, strict=True)
    ]
    return [b + sum(w * x for w, x in zip(row, hidden, strict=True)) for row, b in zip(up_weight, up_bias, strict=True)]
