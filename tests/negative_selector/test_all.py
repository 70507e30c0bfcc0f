import fakes

from neglab.negative_selector.all import AllSelector


def test_keeps_everything_in_order():
    corpus, classes = fakes.label_set(12), fakes.label_set(3, seed=1)
    assert AllSelector().select(corpus, classes).tolist() == list(range(12))
    assert AllSelector().similarity(corpus, classes).shape == (12,)
