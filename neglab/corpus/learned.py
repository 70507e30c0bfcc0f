"""Learned negative prompts as a corpus: one word per prompt, such as "not 2: cat"."""

from collections.abc import Sequence

from neglab.context.checkpoint import read_checkpoint
from neglab.corpus.base import Corpus
from neglab.types import UserError, Words


class LearnedCorpus(Corpus):
    """The K negative prompts of each ID class; set by set, in each the classes in the ID dataset's order.

    Their embeddings are the checkpoint's where the run's prompts are `prompt=learned` with the same checkpoint.

    Args:
        checkpoint: the folder that `neglab learn` left; None where it is still to be given.

    Raises:
        UserError: no checkpoint there, one without negatives, or an ID class that it does not know.

    Shapes: C classes and K sets give K C words; word k*C + c belongs to class c.
    """

    def __init__(self, checkpoint: str | None) -> None:
        self.checkpoint = checkpoint

    def words(self, id_names: Sequence[str]) -> Words:
        if self.checkpoint is None:
            raise UserError("corpus.checkpoint must be a folder that `neglab learn` left; got none.")
        checkpoint = read_checkpoint(self.checkpoint)
        names = checkpoint.negative_names()
        return Words.nouns([names[i] for i in checkpoint.negative_positions(id_names)])
