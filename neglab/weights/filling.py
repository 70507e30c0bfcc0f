"""What stands around a text in a tower's input: the marks of its tokenizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad


class Filling(nn.Module):
    """The marks of a tokenizer, read off the empty text.

    Args:
        empty: token ids of the empty text, filled up to the context length L.
        end: position of its end token.

    Attributes:
        begin: tokens that stand before every text: 1 for CLIP, 0 for SigLIP.
    """

    row: Tensor

    def __init__(self, empty: Sequence[int], end: int) -> None:
        super().__init__()
        self.begin, self.end_id = end, empty[end]
        self.text_id = next(i for i in count() if i not in set(empty))
        # The tokenizer makes it anew, so no checkpoint holds it.
        self.register_buffer("row", torch.tensor(empty), persistent=False)

    def ids(self, end: Int[Tensor, " N"], length: int) -> Int[Tensor, "N length"]:
        """Ids that say where each text ends and what is padding; the text itself is one token, over and over."""
        ids = torch.where(self._is_behind(end, length), self.row[:length], self.text_id)
        return ids.scatter(1, end[:, None], self.end_id)

    def whole(self, tokens: Float[Tensor, "N R E"], end: Int[Tensor, " N"], table: nn.Module) -> Float[Tensor, "N L E"]:
        """Token embeddings up to each end token, and from there on those of the filling."""
        length = len(self.row)
        behind = self._is_behind(end, length)[:, :, None]
        return torch.where(behind, table(self.row), pad(tokens, (0, 0, 0, length - tokens.shape[1])))

    @staticmethod
    def _is_behind(end: Tensor, length: int) -> Bool[Tensor, "N length"]:
        return torch.arange(length, device=end.device) > end[:, None]


@contextmanager
def replaced(table: nn.Module, embeddings: Tensor) -> Iterator[None]:
    """Within, a token table gives these embeddings, whatever it is asked for."""
    # A copy: some towers add the positions in place.
    hook = table.register_forward_hook(lambda *_: embeddings.clone())
    try:
        yield
    finally:
        hook.remove()
