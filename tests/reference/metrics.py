"""FPR at 95% recall by its definition."""


def fpr_ood_positive(id_scores, ood_scores):
    """First threshold from below that catches at least 95% of the OOD images."""
    for threshold in sorted({*id_scores, *ood_scores}):
        if sum(s <= threshold for s in ood_scores) / len(ood_scores) >= 0.95:
            return sum(s <= threshold for s in id_scores) / len(id_scores)
    raise AssertionError("the highest threshold catches everything")


def fpr_id_positive(id_scores, ood_scores):
    """Distinct ID scores u_1 > u_2 > ...; the recall nearest to 0.95, the later of two; just above the next u."""
    distinct = sorted(set(id_scores), reverse=True)
    recalls = [sum(s >= u for s in id_scores) / len(id_scores) for u in distinct]
    nearest = min(range(len(distinct)), key=lambda j: (abs(recalls[j] - 0.95), -j))
    if nearest == len(distinct) - 1:
        return sum(s >= distinct[-1] for s in ood_scores) / len(ood_scores)
    return sum(s > distinct[nearest + 1] for s in ood_scores) / len(ood_scores)
