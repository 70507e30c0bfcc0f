"""The contract of a negative selector: which words of the corpus become negative labels."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from neglab.types import LabelledEmbeddings, LabelSet


class NegativeSelector(ABC):
    """Selects negative labels.

    Attributes:
        needs_corpus: False: the corpus is not even encoded.
    """

    needs_corpus: ClassVar[bool] = True

    @abstractmethod
    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        """Positions in the corpus, in the order in which the score takes the negatives."""

    @abstractmethod
    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """How near to the ID classes the selector finds each label; written beside the chosen negatives."""
