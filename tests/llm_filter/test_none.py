import fakes

from neglab.llm_filter.none import NoneFilter


def test_keeps_every_label_under_its_name():
    negatives = fakes.label_set(7)
    result = NoneFilter().apply(negatives, fakes.label_set(2, seed=1), fakes.NoEncoder())
    assert result.positions.tolist() == list(range(7))
    assert result.names == negatives.names
