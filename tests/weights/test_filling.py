import torch
from torch import nn

from neglab.weights.filling import Filling, replaced


def test_a_text_stands_between_the_marks_of_its_tokenizer():
    clips, siglips = Filling([49406, 49407, 0, 0, 0], 1), Filling([1, 0, 0, 0, 0], 0)
    assert (clips.begin, siglips.begin) == (1, 0)
    assert clips.ids(torch.tensor([3, 1]), 5).tolist() == [[1, 1, 1, 49407, 0], [1, 49407, 0, 0, 0]]
    assert siglips.ids(torch.tensor([2]), 4).tolist() == [[2, 2, 1, 0]]


def test_what_stands_behind_a_text_is_the_tokenizers():
    """Here a mark at the very end too, as some tokenizers put it."""
    table = nn.Embedding.from_pretrained(torch.arange(10.0)[:, None])
    filling = Filling([7, 8, 0, 0, 9], 1)
    tokens = torch.tensor([[7.0, 0.5, 8.0, 99.0], [7.0, 8.0, 99.0, 99.0]])[:, :, None].requires_grad_()
    whole = filling.whole(tokens, torch.tensor([2, 1]), table)
    assert whole[:, :, 0].tolist() == [[7.0, 0.5, 8.0, 0.0, 9.0], [7.0, 8.0, 0.0, 0.0, 9.0]]
    (gradient,) = torch.autograd.grad(whole.sum(), tokens)
    assert gradient[:, :, 0].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_a_table_is_itself_again_afterwards():
    table = nn.Embedding.from_pretrained(torch.arange(3.0)[:, None])
    with replaced(table, torch.full((1, 2, 1), 5.0)):
        assert table(torch.tensor([[0, 1]])).flatten().tolist() == [5.0, 5.0]
    assert table(torch.tensor([[0, 1]])).flatten().tolist() == [0.0, 1.0]
