"""OODD one image at a time: a heap of the lowest base scores, and each image's k-th largest cosine to it."""

import heapq


def scores(base_scores, images, batch_size, size, num_neighbours, weight=1.0):
    """`base_scores`: a list; `images`: lists of coordinates, in the order of the stream."""
    queue, result = [], []  # the heap's first is the queue's highest base score
    for first in range(0, len(images), batch_size):
        batch = range(first, min(first + batch_size, len(images)))
        for i in batch:
            heapq.heappush(queue, (-base_scores[i], -i))
            if len(queue) > size:
                heapq.heappop(queue)
        for i in batch:
            cosines = sorted((sum(x * y for x, y in zip(images[i], images[-j], strict=True)) for _, j in queue))
            result.append(base_scores[i] - weight * cosines[-min(num_neighbours, len(cosines))])
    return result
