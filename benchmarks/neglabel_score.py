"""NegLabel's grouped score: one product and one reduction against the loop over groups, and against the bare product.

Prints JSON. Ratios of medians, all taken in this one run; sizes by argument: images, classes, negatives.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from neglab.score.neglabel import NegLabelScore
from neglab.types import LabelSet, TextBank

NUM_GROUPS, TEMPERATURE = 100, 0.01


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Median of some runs after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def loop_over_groups(images: torch.Tensor, classes: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """The plain way: per batch of 256, both products, then a softmax over ID classes and each group in turn."""
    scores = []
    for batch in images.split(256):
        id_logits, negative_logits = batch @ classes.T / TEMPERATURE, batch @ negatives.T / TEMPERATURE
        shares = [
            torch.cat([id_logits, group], dim=1).softmax(dim=1)[:, : len(classes)].sum(dim=1)
            for group in negative_logits.chunk(NUM_GROUPS, dim=1)
        ]
        scores.append(torch.stack(shares).mean(dim=0))
    return torch.cat(scores)


def labels(count: int, dim: int) -> LabelSet:
    return LabelSet(("x",) * count, ("noun",) * count, normalize(torch.randn(count, dim), dim=1), (None,) * count)


def main() -> None:
    num_images, num_classes, num_negatives = [int(text) for text in sys.argv[1:4]] or (4000, 1000, 10400)
    torch.manual_seed(0)
    images = normalize(torch.randn(num_images, 512), dim=1)
    bank = TextBank(labels(num_classes, 512), labels(num_negatives, 512), 100.0)
    score = NegLabelScore(NUM_GROUPS, TEMPERATURE, group_seed=0)
    prepared = score.prepare(bank)
    everything = torch.cat([prepared.id_weights, prepared.negative_weights])
    permuted = prepared.negative_weights * TEMPERATURE
    ours = seconds(lambda: score.step(prepared, images))
    loop = seconds(lambda: loop_over_groups(images, bank.id_labels.embeddings, permuted))
    product = seconds(lambda: [batch @ everything.T for batch in images.split(1024)])
    difference = score.step(prepared, images)[0] - loop_over_groups(images, bank.id_labels.embeddings, permuted)
    result = {
        "benchmark": "neglabel_score",
        "images": num_images,
        "classes": num_classes,
        "negatives": num_negatives,
        "times_faster_than_loop": round(loop / ours, 2),
        "times_bare_product": round(ours / product, 2),
        "largest_difference": float(difference.abs().max()),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
