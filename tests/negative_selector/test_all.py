import fakes
import torch

from neglab.negative_selector.all import AllSelector


def test_keeps_everything_in_order():
    corpus, classes = fakes.label_set(12), fakes.label_set(3, seed=1)
    assert AllSelector(False).select(corpus, classes).tolist() == list(range(12))
    assert AllSelector(False).similarity(corpus, classes).shape == (12,)


def test_id_names_can_be_left_out():
    corpus = fakes.label_set(5)
    assert AllSelector(True).select(corpus, corpus.take(torch.tensor([1, 3]))).tolist() == [0, 2, 4]
