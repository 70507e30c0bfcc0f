"""The Renyi score one image and one label at a time, in float64, as the official code writes it down."""

import math


def norm(cosines, b, temperature, exponent):
    distances = [max(0.0, s - b) / temperature for s in cosines]
    return (sum(d**exponent for d in distances) / len(cosines)) ** (1 / exponent)


def objective(cosines, b, temperature, eta, order):
    return b + eta * temperature * norm(cosines, b, temperature, order / (order - 1))


def score(cosines, num_id, *, temperature, eta, order, start, steps, step_size):
    """The score and b. `cosines`: of the ID classes, then of the negatives."""
    exponent, b = order / (order - 1), start
    for _ in range(steps):
        distances = [max(0.0, s - b) / temperature for s in cosines]
        outer = (sum(d**exponent for d in distances) / len(cosines)) ** (1 / exponent - 1)
        inner = sum(d ** (exponent - 1) for d in distances) / len(cosines)
        b -= step_size * (1 - eta * outer * inner)
    mass = math.log(sum(math.exp(s / temperature) for s in cosines[:num_id]))
    return mass - b / temperature - eta * norm(cosines, b, temperature, exponent), b


# Cosines of three images to two ID classes and four negatives, and the specification's scores and b.
FIXTURE = [
    [0.3007528, 0.2506903, 0.1004581, 0.0504202, 0.2706911, 0.1201623],
    [0.0501255, 0.2206075, 0.2812828, 0.2016810, 0.0200512, 0.1502029],
    [0.2205521, 0.3269002, 0.2853011, 0.1915969, 0.1784556, 0.1922597],
]
FIXTURE_SCORES = [-4.2839800, -9.8348114, -4.3830813]
FIXTURE_B = [-0.0798017, -0.0834353, -0.0818891]

# The specification's constants by score preset: tau, eta, r, beta_0, steps, step size.
CONSTANTS = {
    "renyi": (0.01, 1.2, 1.05, -0.1, 15, 1e-2),
    "renyi_imagenet_r": (0.012, 1.14, 1.05, 0.0, 5, 1e-2),
    "renyi_imagenet_a": (0.01, 1.18, 1.05, 0.0, 5, 1e-3),
    "renyi_imagenet_v2": (0.009, 1.45, 1.05, -0.08, 5, 1e-2),
    "renyi_imagenet_sketch": (0.01, 0.8, 1.05, 0.06, 20, 1e-3),
    "renyi_vit_b32": (0.01, 1.2, 1.05, -0.12, 15, 1e-2),
    "renyi_vit_l14": (0.01, 1.3, 1.06, -0.1, 15, 1e-3),
    "renyi_vit_l14_336": (0.01, 1.2, 1.06, -0.12, 0, None),
    "renyi_rn50": (0.01, 1.3, 1.06, -0.1, 30, 1e-3),
    "renyi_common": (0.009, 1.15, 1.07, -0.05, 15, 1e-2),
    "renyi_full_spectrum": (0.01, 0.9, 1.03, -0.14, 20, 1e-2),
}
