"""CLIPScope one image at a time."""

import math


def scores(similarities, num_classes, temperature=0.01):
    """`similarities`: per image, cosines to the ID classes and then to the negatives."""
    counts, results = [1] * num_classes, []
    for cosines in similarities:
        exponentials = [math.exp(float(cosine) / temperature) for cosine in cosines]
        id_part = exponentials[:num_classes]
        k = id_part.index(max(id_part))
        share, mass = id_part[k] / sum(id_part), sum(id_part) / sum(exponentials)
        results.append(share * mass / (counts[k] / sum(counts)))
        counts[k] += 1
    return results, counts


def mine(corpus, id_embeddings, num_far, num_near, class_rank):
    """Positions of the farthest and of the nearest words."""
    similarity = [sorted((word @ id_embeddings.T).tolist(), reverse=True)[class_rank - 1] for word in corpus]
    ranked = sorted(range(len(corpus)), key=lambda i: similarity[i])
    return ranked[:num_far] + ranked[len(ranked) - num_near :], similarity


# Cosines to two ID classes and two negatives, in the order of the stream, and the specification's scores.
FIXTURE = [[0.30, 0.20, 0.10, 0.05], [0.31, 0.20, 0.25, 0.05], [0.20, 0.30, 0.29, 0.1], [0.30, 0.2, 0.1, 0.1]]
FIXTURE_SCORES = [1.9999092, 1.4962662, 2.9241385, 1.6665909]
