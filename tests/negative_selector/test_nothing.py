import fakes

from neglab.negative_selector.nothing import NothingSelector


def test_selects_nothing_and_spares_the_corpus():
    assert not NothingSelector.needs_corpus
    assert len(NothingSelector().select(fakes.label_set(5), fakes.label_set(3))) == 0
