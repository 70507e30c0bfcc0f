"""Label sets of random directions, for benchmarks of what comes after the towers."""

import torch
from torch.nn.functional import normalize

from neglab.types import LabelSet, PartOfSpeech

DIM = 512


def random_labels(num_nouns: int, num_adjectives: int = 0) -> LabelSet:
    count = num_nouns + num_adjectives
    parts_of_speech: tuple[PartOfSpeech, ...] = ("noun",) * num_nouns + ("adjective",) * num_adjectives
    return LabelSet(("x",) * count, parts_of_speech, normalize(torch.randn(count, DIM), dim=1), (None,) * count)
