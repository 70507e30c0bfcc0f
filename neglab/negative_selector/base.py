"""The contract of a negative selector: which words of the corpus become negative labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words


class NegativeSelector(ABC):
    """Selects negative labels.

    Attributes:
        needs_corpus: False: the corpus is not even encoded.
        needs_id_images: the choice depends on few ID images.
    """

    needs_corpus: ClassVar[bool] = True
    needs_id_images: ClassVar[bool] = False

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        """So many negatives can be selected at most; asked before anything is embedded.

        Raises:
            UserError: the corpus or the ID classes are too few.
        """
        return len(corpus)

    @abstractmethod
    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        """Positions in the corpus, in the order in which the score takes the negatives."""

    @abstractmethod
    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """How near to the ID classes the selector finds each label; written beside the chosen negatives."""


def check_size(fraction: float | None, num_labels: int | None) -> None:
    """How many labels a selector is to keep: a share in (0, 1] or a number, one of the two.

    Raises:
        UserError: neither or both are set.
    """
    if (fraction is None) == (num_labels is None):
        raise UserError(
            "Exactly one of negative_selector.fraction and negative_selector.num_labels must be set; got "
            f"fraction={fraction} and num_labels={num_labels}. Set the other one to null."
        )
