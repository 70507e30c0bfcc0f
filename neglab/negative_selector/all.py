"""Every word of the corpus is a negative label."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.negative_selector.base import NegativeSelector
from neglab.types import LabelledEmbeddings, LabelSet


class AllSelector(NegativeSelector):
    """Keeps the whole corpus in its order: for given OOD names, and to replay a run's negative_labels.csv."""

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        return torch.arange(len(corpus))

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """The largest cosine similarity to an ID class."""
        return (labels.embeddings @ id_labels.embeddings.T).amax(dim=1).cpu()
