"""Every word of the corpus is a negative label."""

import torch
from jaxtyping import Int
from torch import Tensor

from neglab.negative_selector.base import NegativeSelector
from neglab.types import LabelledEmbeddings, LabelSet


class AllSelector(NegativeSelector):
    """Keeps the whole corpus in its order: for given OOD names, and to replay a run's negative_labels.csv.

    Args:
        remove_id_names: leave out words that equal an ID class name, as TANL does.
    """

    def __init__(self, remove_id_names: bool) -> None:
        self.remove_id_names = remove_id_names

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        left_out = set(id_labels.names) if self.remove_id_names else set()
        return torch.tensor([i for i, name in enumerate(corpus.names) if name not in left_out], dtype=torch.long)
