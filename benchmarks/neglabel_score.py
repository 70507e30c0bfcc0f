"""NegLabel's grouped score: one product and one reduction against the loop over groups, and against the bare product."""

import torch
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.score.neglabel import NegLabelScore
from neglab.types import LabelSet, TextBank

NUM_GROUPS, TEMPERATURE, DIM = 100, 0.01, 512


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


def labels(count: int) -> LabelSet:
    return LabelSet(("x",) * count, ("noun",) * count, normalize(torch.randn(count, DIM), dim=1), (None,) * count)


def measure(num_images: int = 8000, num_classes: int = 1000, num_negatives: int = 10400) -> Figure:
    """On random embeddings; time grows with the number of images, so fewer than a whole set are enough."""
    torch.manual_seed(0)
    images = normalize(torch.randn(num_images, DIM), dim=1)
    bank = TextBank(labels(num_classes), labels(num_negatives), 100.0)
    score = NegLabelScore(NUM_GROUPS, TEMPERATURE, group_seed=0)
    prepared = score.prepare(bank)
    permuted = prepared.negative_weights * TEMPERATURE
    everything = torch.cat([prepared.id_weights, prepared.negative_weights])
    plain = loop_over_groups(images[:256], bank.id_labels.embeddings, permuted)
    difference = float((score.step(prepared, images[:256])[0] - plain).abs().max())
    times = seconds(
        {
            "ours": lambda: score.step(prepared, images),
            "plain": lambda: loop_over_groups(images, bank.id_labels.embeddings, permuted),
            "product": lambda: [batch @ everything.T for batch in images.split(1024)],
        },
        repeats=5,
    )
    return Figure(
        what=f"NegLabel score, {num_images:,} x ({num_classes:,} + {num_negatives:,}), {NUM_GROUPS} groups",
        plain="loop over groups with concatenation",
        ratios=(
            Ratio("plain way / ours", times["plain"] / times["ours"], 4),
            Ratio("ours / bare matrix product", times["ours"] / times["product"], 1.4, at_most=True),
        ),
        difference=difference,
        tolerance=1e-5,
        details={"seconds": times},
    )


if __name__ == "__main__":
    report("neglabel_score", measure)
