"""No negative labels: for the scores that look at ID classes alone."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.negative_selector.base import NegativeSelector
from neglab.types import LabelledEmbeddings, LabelSet


class NothingSelector(NegativeSelector):
    """Selects nothing, and so spares the run the corpus."""

    needs_corpus: ClassVar[bool] = False

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        return torch.empty(0, dtype=torch.long)

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        return torch.zeros(len(labels))
