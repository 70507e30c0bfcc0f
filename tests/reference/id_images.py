"""Scores that compare with ID images, one image at a time, in numpy's float64."""

import numpy as np


def knn(image, id_images, num_neighbours):
    distances = sorted(sum((a - b) ** 2 for a, b in zip(image, other, strict=True)) for other in id_images)
    return -distances[num_neighbours - 1]


def ledoit_wolf(residuals):
    """The shrinkage by its definition: b^2 / d^2 of Ledoit and Wolf (2004), norms divided by the dimension."""
    count, dim = residuals.shape
    covariance = sum(np.outer(x, x) for x in residuals) / count
    mu = np.trace(covariance) / dim
    d2 = np.sum((covariance - mu * np.eye(dim)) ** 2) / dim
    b2 = sum(np.sum((np.outer(x, x) - covariance) ** 2) / dim for x in residuals) / count**2
    return min(b2, d2) / d2


def mahalanobis(image, id_images, labels, shrinkage):
    """`shrinkage` a number, or None for the estimated one."""
    classes = sorted({int(label) for label in labels})
    means = {c: np.mean([x for x, label in zip(id_images, labels, strict=True) if label == c], axis=0) for c in classes}
    residuals = np.array([x - means[int(label)] for x, label in zip(id_images, labels, strict=True)])
    covariance = residuals.T @ residuals / len(residuals)
    a = ledoit_wolf(residuals) if shrinkage is None else shrinkage
    dim = len(covariance)
    inverse = np.linalg.inv((1 - a) * covariance + a * np.trace(covariance) / dim * np.eye(dim))
    return max(-(image - mean) @ inverse @ (image - mean) for mean in means.values())


def vim(image, id_images, weights, num_dimensions):
    """Residuals by subtracting the projection on the principal space, which a singular value decomposition gives."""
    principal = np.linalg.svd(id_images, full_matrices=False)[2][:num_dimensions]

    def residual(x):
        return np.linalg.norm(x - principal.T @ (principal @ x))

    alpha = np.mean([max(weights @ x) for x in id_images]) / np.mean([residual(x) for x in id_images])
    return np.log(np.sum(np.exp(weights @ image))) - alpha * residual(image)
