"""NegLabel's mining: a partial selection per block of words against torch.quantile on whole rows."""

import torch

from benchmarks.figure import Figure, Ratio, report, seconds
from benchmarks.labels import random_labels
from neglab.negative_selector.neglabel import NegLabelSelector, _upper_quantile
from neglab.types import LabelSet

QUANTILE, FRACTION = 0.95, 0.15


def whole_rows(corpus: LabelSet, id_labels: LabelSet) -> torch.Tensor:
    """The plain way: all similarities at once, the quantile of each word, the lowest of each part of speech."""
    similarity = torch.quantile(corpus.embeddings @ id_labels.embeddings.T, QUANTILE, dim=1)
    is_noun = torch.tensor([part == "noun" for part in corpus.parts_of_speech])
    chosen = []
    for wanted in (is_noun, ~is_noun):
        positions = wanted.nonzero().flatten()
        chosen.append(positions[similarity[positions].argsort(stable=True)[: int(len(positions) * FRACTION)]])
    return torch.cat(chosen)


def measure(num_words: int = 70_000, num_classes: int = 1000) -> Figure:
    """On random embeddings, a fifth of the words adjectives."""
    torch.manual_seed(0)
    corpus, id_labels = random_labels(num_words - num_words // 5, num_words // 5), random_labels(num_classes)
    selector = NegLabelSelector(FRACTION, None, QUANTILE, remove_id_names=False, duplicate_guard=None)
    found: dict[str, torch.Tensor] = {}
    some = corpus.embeddings[: num_words // 10] @ id_labels.embeddings.T

    def keep(name: str, chosen: torch.Tensor) -> None:
        found[name] = chosen

    times = seconds(
        {
            "ours": lambda: keep("ours", selector.select(corpus, id_labels)),
            "plain": lambda: keep("plain", whole_rows(corpus, id_labels)),
            "quantile of a tenth, ours": lambda: _upper_quantile(some, QUANTILE),
            "quantile of a tenth, torch": lambda: torch.quantile(some, QUANTILE, dim=1),
        },
        repeats=3,
    )
    quantile = times["quantile of a tenth, torch"] / times["quantile of a tenth, ours"]
    return Figure(
        what=f"mining: quantile over {num_classes:,} classes for {num_words:,} words",
        plain="torch.quantile on whole rows",
        ratios=(
            Ratio("torch.quantile / ours, the similarities given", quantile, 1.5),
            Ratio("plain way / ours, with similarities and ranking", times["plain"] / times["ours"]),
        ),
        # Neighbours in rank may change places: torch.quantile's position is rounded to float32, by up to 3e-5 ranks.
        difference=float(len(set(found["ours"].tolist()) ^ set(found["plain"].tolist()))),
        tolerance=0,
        details={
            "seconds": times,
            "selected": len(found["ours"]),
            "neighbours that change places": int((found["ours"] != found["plain"]).sum()),
        },
    )


if __name__ == "__main__":
    report("mining", measure)
