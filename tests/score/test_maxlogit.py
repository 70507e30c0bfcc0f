import fakes
import torch

from neglab.score.maxlogit import MaxLogitScore


def test_equals_the_largest_logit():
    bank, images = fakes.text_bank(), fakes.unit(9, seed=3)
    expected = torch.stack([100 * max(image @ label for label in bank.id_labels.embeddings) for image in images])
    assert torch.allclose(MaxLogitScore()(images, bank), expected, atol=1e-4)
