"""NegLabel's grouped score: one product and one reduction against the loop over groups, and the bare product."""

import torch
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from benchmarks.labels import DIM, random_labels
from neglab.score.neglabel import CHUNK_ELEMENTS, NegLabelScore
from neglab.types import TextBank

NUM_GROUPS, TEMPERATURE = 100, 0.01
BATCH = 256  # of the official code


def loop_over_groups(images: torch.Tensor, classes: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
    """The plain way: per batch both products and the permutation, then a softmax over ID classes and each group."""
    scores = []
    for batch in images.split(BATCH):
        id_logits, negative_logits = batch @ classes.T / TEMPERATURE, batch @ negatives.T / TEMPERATURE
        order = torch.randperm(len(negatives), generator=torch.Generator().manual_seed(0))
        shares = [
            torch.cat([id_logits, group], dim=1).softmax(dim=1)[:, : len(classes)].sum(dim=1)
            for group in negative_logits.index_select(1, order).chunk(NUM_GROUPS, dim=1)
        ]
        scores.append(torch.stack(shares).mean(dim=0))
    return torch.cat(scores)


def measure(num_images: int = 8000, num_classes: int = 1000, num_negatives: int = 10400) -> Figure:
    """On random embeddings; time grows with the number of images, so fewer than a whole set are enough."""
    torch.manual_seed(0)
    images = normalize(torch.randn(num_images, DIM), dim=1)
    bank = TextBank(random_labels(num_classes), random_labels(num_negatives), 100.0)
    score = NegLabelScore(NUM_GROUPS, TEMPERATURE, group_seed=0)
    prepared = score.prepare(bank)
    classes, negatives = bank.id_labels.embeddings, bank.negatives.embeddings
    everything = torch.cat([prepared.id_weights, prepared.negative_weights])
    products = torch.empty(min(num_images, 1024), len(everything))  # made once: the limit has no page faults either

    def bare() -> None:
        for batch in images.split(len(products)):
            torch.mm(batch, everything.T, out=products[: len(batch)])

    found: dict[str, torch.Tensor] = {}
    times = seconds(
        {
            "ours": lambda: found.update(ours=score.step(prepared, images)[0].scores),
            "plain": lambda: found.update(plain=loop_over_groups(images, classes, negatives)),
            "product": bare,
        },
        repeats=5,
    )
    return Figure(
        what=f"NegLabel score, {num_images:,} x ({num_classes:,} + {num_negatives:,}), {NUM_GROUPS} groups",
        plain=f"loop over groups with concatenation, batches of {BATCH}",
        ratios=(
            Ratio("plain way / ours", times["plain"] / times["ours"], 4),
            Ratio("ours / bare matrix product", times["ours"] / times["product"], 1.4, at_most=True),
            Ratio("plain way / bare matrix product", times["plain"] / times["product"]),
        ),
        difference=float((found["ours"] - found["plain"]).abs().max()),
        tolerance=1e-5,
        details={"seconds": times, "logits held at once": CHUNK_ELEMENTS},
    )


if __name__ == "__main__":
    report("neglabel_score", measure)
