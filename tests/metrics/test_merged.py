import math

import pytest
import torch
from reference.metrics import fpr_id_positive, fpr_ood_positive

from neglab.metrics import DetectionMetrics
from neglab.metrics.merged import SortedScores
from neglab.types import UserError, generator

EXACT = ("auroc", "fpr95_id_positive", "fpr95_ood_positive")


def merged(folder, batches, rows):
    scores = SortedScores(folder, rows)
    for batch in batches:
        scores.add(*batch)
    return scores.metrics()


def at_once(scores, is_id):
    metrics = DetectionMetrics()
    metrics.update(scores, is_id)
    return {name: float(value) for name, value in metrics.compute().items()}


def drawn(count, levels, seed, kind=torch.float32):
    """Scores with many ties, or, at many levels, hardly any."""
    draw = generator(seed)
    is_id = torch.rand(count, generator=draw) < 0.4
    noise = torch.randint(levels, (count,), generator=draw) + is_id * torch.randint(levels, (count,), generator=draw)
    return (noise / levels).to(kind), is_id


@pytest.mark.parametrize("levels", [1, 2, 7, 10**6])
@pytest.mark.parametrize("rows", [9, 50, 1000])
def test_runs_on_the_disk_give_what_memory_gives(tmp_path, levels, rows):
    scores, is_id = drawn(120, levels, levels)
    expected = at_once(scores, is_id)
    found = merged(tmp_path, zip(scores.split(14), is_id.split(14), strict=True), rows)
    assert list(found) == list(expected)
    assert {name: found[name] for name in EXACT} == {name: expected[name] for name in EXACT}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_few_scores_by_definition(tmp_path, seed):
    scores, is_id = drawn(30, 6, seed, torch.float64)
    found = merged(tmp_path, [(scores, is_id)], 7)
    id_scores, ood_scores = scores[is_id].tolist(), scores[~is_id].tolist()
    assert found["fpr95_ood_positive"] == fpr_ood_positive(id_scores, ood_scores)
    assert found["fpr95_id_positive"] == fpr_id_positive(id_scores, ood_scores)


def test_kinds_that_come_one_after_the_other(tmp_path):
    """As the pipeline adds them: no run holds both kinds."""
    scores, is_id = drawn(300, 50, 3)
    parts = [(scores[kind], is_id[kind]) for kind in (is_id, ~is_id)]
    expected, found = at_once(scores, is_id), merged(tmp_path, parts, 64)
    assert {name: found[name] for name in EXACT} == {name: expected[name] for name in EXACT}


def test_infinite_scores_are_the_ends(tmp_path):
    scores, is_id = drawn(200, 20, 4)
    scores[:9], scores[9:30] = -math.inf, math.inf
    expected, found = at_once(scores, is_id), merged(tmp_path, [(scores, is_id)], 16)
    assert {name: found[name] for name in EXACT} == {name: expected[name] for name in EXACT}


def test_only_a_few_rows_are_in_memory(tmp_path):
    scores, is_id = drawn(1000, 10**6, 5)
    held = SortedScores(tmp_path, 100)
    held.add(scores, is_id)
    blocks = list(held.blocks())
    assert max(len(block.id_counts) for block in blocks) <= 100 and len(blocks) >= 10
    assert len(list(tmp_path.iterdir())) == 10


def test_what_cannot_be_measured(tmp_path):
    scores, is_id = drawn(50, 9, 6)
    with pytest.raises(UserError, match="Metrics need ID and OOD images; got 50 ID and 0 OOD"):
        merged(tmp_path, [(scores, torch.ones(50, dtype=torch.bool))], 10)
    scores[3] = math.nan
    with pytest.raises(UserError, match=r"must not be NaN; 1 of 50 are"):
        merged(tmp_path, [(scores, is_id)], 100)
