"""CLIPScope's mining: the words farthest from the ID classes and the words nearest to them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neglab.negative_selector.base import NegativeSelector
from neglab.on_device import rows_at_once
from neglab.ranges import Count, CountOrZero
from neglab.types import LabelledEmbeddings, LabelSet, UserError, Words

CHUNK_ELEMENTS = 2**24  # similarities held at once: 64 MiB


class CLIPScopeSelector(NegativeSelector):
    """Keeps the least and the most similar words; similarity is the k-th largest cosine to the ID classes.

    Names and synonyms of ID classes are among the nearest words; nothing removes them.

    Args:
        num_far: words of the lowest similarity.
        num_near: words of the highest similarity.
        class_rank: k, at most the number of ID classes; 1 is the largest cosine.

    Raises:
        UserError: no words asked for, more than the corpus has, or k above the number of ID classes.

    Shapes: a corpus [W, D] and ID labels [C, D] give num_far + num_near positions: the far words, then the near ones,
        both by rising similarity.

    Source: CLIPScope (Fu et al., WACV 2025), official code d29a315, mining.py and CLIPScope.py.
    Differs: one prompt for all words; the official code mines with "the {}" and scores the near half with
        "a photo of {}". Its word list is not published. Equal similarities keep the corpus's order.
    """

    def __init__(self, num_far: CountOrZero, num_near: CountOrZero, class_rank: Count) -> None:
        if num_far + num_near == 0:
            raise UserError("negative_selector.num_far and negative_selector.num_near must not both be 0. Raise one.")
        self.num_far, self.num_near, self.class_rank = num_far, num_near, class_rank

    def most(self, corpus: Words, id_names: Sequence[str]) -> int:
        wanted = self.num_far + self.num_near
        if wanted > len(corpus):
            raise UserError(
                "negative_selector.num_far and negative_selector.num_near must sum to at most the number of words; got "
                f"{self.num_far} + {self.num_near} with {len(corpus)} words. Lower them, or give a larger corpus."
            )
        self._check_rank(len(id_names))
        return wanted

    def _check_rank(self, num_classes: int) -> None:
        if self.class_rank > num_classes:
            raise UserError(
                f"class_rank must be at most the number of ID classes; got class_rank={self.class_rank} with "
                f"{num_classes} classes. Lower negative_selector.class_rank: 50 of 1000 is the official choice."
            )

    def select(
        self, corpus: LabelSet, id_labels: LabelSet, id_images: LabelledEmbeddings | None = None
    ) -> Int[Tensor, " M"]:
        self.most(corpus.words, id_labels.names)
        order = self.similarity(corpus, id_labels).argsort(stable=True)
        return torch.cat([order[: self.num_far], order[len(order) - self.num_near :]])

    def similarity(self, labels: LabelSet, id_labels: LabelSet) -> Float[Tensor, " N"]:
        """The k-th largest cosine to an ID class."""
        self._check_rank(len(id_labels))
        chunks = labels.embeddings.split(rows_at_once(labels.embeddings, len(id_labels), CHUNK_ELEMENTS))
        largest = [(chunk @ id_labels.embeddings.T).topk(self.class_rank, dim=1).values for chunk in chunks]
        return torch.cat([values[:, -1] for values in largest]).cpu()
