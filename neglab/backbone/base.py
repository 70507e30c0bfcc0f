"""The contract of a backbone: an image tower and a text tower that share one embedding space."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn

ImageTransform = Callable[[Image.Image], Tensor]


class Backbone(nn.Module, ABC):
    """A dual encoder. Embeddings come out as the towers give them, float32, not normalised.

    Attributes:
        embedding_dim: D.
        logit_scale: 1 / temperature, 100 for CLIP.
        context_length: most tokens of a text, its begin and end tokens included.
        fingerprint: digest of weights, tokenizer, image transform and precision: part of every key in the store.
    """

    embedding_dim: int
    logit_scale: float
    context_length: int
    fingerprint: str

    @abstractmethod
    def image_transform(self) -> ImageTransform:
        """What turns a picture into the tower's input [3, H, W]; runs in the loading workers."""

    @abstractmethod
    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Embeddings of transformed images."""

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        """Token ids, cut at the longest text where the tower allows, and the position of each end token.

        Raises:
            UserError: a text is longer than the context.
        """

    @abstractmethod
    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        """Rows of the token embedding table."""

    @abstractmethod
    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Embeddings of token embeddings, differentiable.

        Raises:
            UserError: the text tower cannot be fed token embeddings.
        """

    @abstractmethod
    def encode_token_ids(self, ids: Int[Tensor, "N L"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Embeddings of tokenized texts."""

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embeddings of texts, one batch."""
        ids, end = self.tokenize(texts)
        device = next(self.parameters()).device
        return self.encode_token_ids(ids.to(device), end.to(device))
