import pytest
import torch
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.stream.arranged import ArrangedStream
from neglab.types import UserError


def stream(order="shuffled", seed=0, id_per_ood=None, batch_size=8, reset=True):
    return ArrangedStream(order, seed, id_per_ood, batch_size, reset)


@pytest.mark.parametrize("order", ["shuffled", "id_first", "ood_first"])
def test_every_image_comes_once(order):
    found = stream(order).draw(30, 20).order
    assert sorted(found.tolist()) == list(range(50))
    is_id = (found < 30).tolist()
    if order == "id_first":
        assert is_id == [True] * 30 + [False] * 20
    elif order == "ood_first":
        assert is_id == [False] * 20 + [True] * 30
    else:
        assert any(is_id[:30]) and not all(is_id[:30])
    assert found.tolist() != sorted(found.tolist())


def test_the_seed_decides():
    first, again, other = (stream(seed=seed).draw(30, 20).order for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("ratio", "num_id", "num_ood"), [(1.0, 20, 20), (0.1, 2, 20), (30.0, 30, 1), (1000.0, 30, 1), (0.01, 1, 20)]
)
def test_ratios_leave_out_what_is_too_many(ratio, num_id, num_ood):
    found = stream(id_per_ood=ratio).draw(30, 20).order
    assert ((found < 30).sum(), (found >= 30).sum()) == (num_id, num_ood)
    assert len(found.unique()) == len(found)


def test_it_says_what_it_is():
    assert stream("id_first", 3, 0.5, 256, False).describe() == (
        "id_first, batches of 256, 0.5 ID per OOD image, never reset"
    )


def test_the_temporal_shift_forgets_nothing_between_its_stages():
    config = compose(["stream=temporal", "ood_datasets=temporal_shift", "seed.value=3"])
    plan = instantiate(config.stream)
    assert plan.describe() == "shuffled, batches of 256, never reset" and plan.seed == 3
    assert list(config.ood_datasets) == ["places", "textures", "inaturalist", "sun"]


def test_an_unknown_order():
    with pytest.raises(UserError, match="stream\\.order"):
        stream("sorted")
