"""All detection metrics of six OOD sets: one sort per set against scikit-learn, which sorts for each metric."""

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.metrics import DetectionMetrics
from neglab.metrics.intervals import resampled_metrics

NUM_SETS, RECALL = 6, 0.95


def fpr_id_positive(scores: np.ndarray, is_id: np.ndarray) -> float:
    """Share of OOD accepted where ID recall is nearest to 95%; of two recalls equally near the higher one."""
    false_rates, recalls, _ = roc_curve(is_id, scores, drop_intermediate=False)
    falling = recalls[::-1]
    recall = falling[np.abs(falling - RECALL).argmin()]
    # The lowest threshold of that recall; where it is 1, the lowest ID score.
    accepted = false_rates[recalls == recall]
    return float(accepted[0] if recall == 1 else accepted[-1])


def fpr_ood_positive(scores: np.ndarray, is_id: np.ndarray) -> float:
    """Share of ID rejected at the first threshold that catches 95% of OOD."""
    false_rates, recalls, _ = roc_curve(~is_id, -scores, drop_intermediate=False)
    return float(false_rates[np.argmax(recalls >= RECALL)])


def scikit_learn(scores: np.ndarray, is_id: np.ndarray) -> dict[str, float]:
    """The plain way: a call per metric."""
    return {
        "auroc": float(roc_auc_score(is_id, scores)),
        "aupr_in": float(average_precision_score(is_id, scores)),
        "aupr_out": float(average_precision_score(~is_id, -scores)),
        "fpr95_id_positive": fpr_id_positive(scores, is_id),
        "fpr95_ood_positive": fpr_ood_positive(scores, is_id),
    }


def ours(scores: torch.Tensor, is_id: torch.Tensor) -> dict[str, torch.Tensor]:
    metrics = DetectionMetrics()
    metrics.update(scores, is_id)
    return metrics.compute()


def resampled_one_by_one(scores: torch.Tensor, is_id: torch.Tensor, num_resamples: int) -> dict[str, list[float]]:
    """The plain bootstrap: scikit-learn on each resample in turn."""
    id_draw, ood_draw = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    id_scores, ood_scores = scores[is_id], scores[~is_id]
    found: dict[str, list[float]] = {"auroc": [], "fpr95_id_positive": [], "fpr95_ood_positive": []}
    for _ in range(num_resamples):
        drawn = [
            part[torch.randint(len(part), part.shape, generator=draw)]
            for part, draw in ((id_scores, id_draw), (ood_scores, ood_draw))
        ]
        values, kind = torch.cat(drawn).numpy(), np.arange(len(scores)) < len(id_scores)
        found["auroc"].append(float(roc_auc_score(kind, values)))
        found["fpr95_id_positive"].append(fpr_id_positive(values, kind))
        found["fpr95_ood_positive"].append(fpr_ood_positive(values, kind))
    return found


def measure(num_id: int = 50_000, num_ood: int = 10_000, num_resamples: int = 10) -> Figure:
    """Half of the sets have ties: their scores are those of float16."""
    generator = torch.Generator().manual_seed(0)
    is_id = torch.arange(num_id + num_ood) < num_id
    sets = []
    for i in range(NUM_SETS):
        scores = torch.sigmoid(torch.randn(num_id + num_ood, generator=generator) + is_id)
        sets.append((scores.half() if i % 2 else scores).double())
    arrays, kind = [scores.numpy() for scores in sets], is_id.numpy()
    times = seconds(
        {
            "ours": lambda: [ours(scores, is_id) for scores in sets],
            "plain": lambda: [scikit_learn(scores, kind) for scores in arrays],
            "bootstrap": lambda: resampled_metrics(sets[0][is_id], sets[0][~is_id], num_resamples, 1, 2),
            "plain bootstrap": lambda: resampled_one_by_one(sets[0], is_id, num_resamples),
        },
        repeats=5,
    )
    differences = [
        abs(float(ours(scores, is_id)[name]) - value)
        for scores, array in zip(sets, arrays, strict=True)
        for name, value in scikit_learn(array, kind).items()
    ]
    resampled = resampled_metrics(sets[0][is_id], sets[0][~is_id], num_resamples, 1, 2)
    for name, values in resampled_one_by_one(sets[0], is_id, num_resamples).items():
        differences.append(float((resampled[name] - torch.tensor(values, dtype=torch.float64)).abs().max()))
    return Figure(
        what=f"metrics: {NUM_SETS} sets x {num_id + num_ood:,} scores",
        plain="scikit-learn, a call per metric; for the bootstrap a call per resample too",
        ratios=(
            Ratio("scikit-learn / ours", times["plain"] / times["ours"], 1),
            Ratio("scikit-learn / ours, bootstrap", times["plain bootstrap"] / times["bootstrap"]),
        ),
        difference=max(differences),
        tolerance=1e-12,
        details={"seconds": times, "resamples": num_resamples},
    )


if __name__ == "__main__":
    report("metrics", measure)
