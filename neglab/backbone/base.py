"""The contract of a backbone: an image tower and a text tower that share one embedding space."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from neglab.types import UserError
from neglab.weights.filling import Filling, replaced
from neglab.weights.fingerprint import fingerprint
from neglab.weights.patches import PatchEncoding
from neglab.weights.pixels import Pictures, Pixels
from neglab.weights.precision import PRECISIONS, memory_format, warn_of_half_precision_on_a_cpu
from neglab.weights.transforms import TRANSFORMS, ImageTransform, chosen_transform

LONG_TEXTS = ("error", "truncate")
CHECK_TEXTS = ("cat", "This is a longer photo, whose end token stands elsewhere")
PROBE_PICTURES = (Image.linear_gradient("L"), Image.radial_gradient("L"))
# Raised when the same weights would give other embeddings than before: old entries of the store no longer match.
CODE_VERSION = 1
TEXTS_AT_ONCE = 4096  # that are tokenized: their ids have the context's whole length for a moment

logger = logging.getLogger(__name__)


class Backbone(PatchEncoding, nn.Module, ABC):
    """A dual encoder. Embeddings come out as the towers give them, float32, not normalised.

    CLIP's text tower is causal and read at its end token, and BERT's masks what follows that token, so nothing there
    changes an embedding: texts are cut at the longest of their batch. Whether this shortened road gives the library's
    own embeddings is checked once at loading; a tower for which it does not keeps the library's call. Token embeddings
    go to such a tower in whole contexts, filled up as its tokenizer does; that road is checked too.

    Args:
        precision: "fp32", "fp16" or "bf16": of weights and activations.
        long_texts: "error", or "truncate" to cut a text at the context length and say how many were cut.
        transform: "model": the model's own, as its library gives it. The others end in a central crop and keep the
            model's mean and standard deviation. "clip": the shorter edge becomes the input size, bicubic.
            "bilinear_224": the same, bilinear. "resize_256": it becomes 256/224 of the input size, bicubic. The
            numbers are those of an input size of 224; for others they stand for the same share.
        compile: run the towers through torch.compile, in each process at its first batch. Compiled kernels may round
            differently, so what they give has entries of its own in the store.

    Attributes:
        embedding_dim: D.
        logit_scale: 1 / temperature, 100 for CLIP.
        context_length: most tokens of a text, its begin and end tokens included.
        fingerprint: see `neglab.weights.fingerprint`; part of every key in the store.
        network: the library's model.
        tokenizer: the library's.
        padding_id: the token that fills a text up to the context length.
        filling: what the tokenizer puts around a text.
        can_cut: the shortened road is exact.
        can_encode_tokens: it is, or that of whole contexts is: token embeddings can be encoded.
        can_pack: the packed road is exact.

    Raises:
        UserError: an argument is none of its values.

    Source: of the transforms: CLIP's own; NegLabel, CSP, LSN and MCM (bilinear_224); OpenOOD-VLM and with it InterNeg
        on ImageNet (resize_256).
    """

    embedding_dim: int
    logit_scale: float
    context_length: int
    fingerprint: str
    network: Any
    tokenizer: Any
    padding_id: int
    filling: Filling
    can_cut: bool
    can_encode_tokens: bool
    can_pack: bool
    _prepared_for: torch.device | None = None

    def __init__(self, precision: str, long_texts: str, transform: str, compile: bool) -> None:
        super().__init__()
        for name, value, allowed in (
            ("precision", precision, PRECISIONS),
            ("long_texts", long_texts, LONG_TEXTS),
            ("transform", transform, TRANSFORMS),
        ):
            if value not in allowed:
                raise UserError(f"backbone.{name} must be one of {', '.join(allowed)}; got {value!r}.")
        self.precision, self.long_texts, self.transform, self.compiled = precision, long_texts, transform, compile
        self.dtype = torch.float32

    def encode_image(self, images: Pixels | Pictures) -> Float[Tensor, "B D"]:
        """Embeddings of transformed images, by either transform."""
        self._prepare_here()
        return self._encode_images(self.as_input(images)).float()

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        """Token ids, cut at the longest text where the tower allows, and the position of each end token.

        Raises:
            UserError: a text is longer than the context.
        """
        ids, end = zip(*map(self._cut_ids, _chunks(texts)), strict=True)
        longest = max(part.shape[1] for part in ids)
        filled = [pad(part, (0, longest - part.shape[1]), value=self.padding_id) for part in ids]
        return torch.cat(filled), torch.cat(end)

    def count_tokens(self, texts: Sequence[str]) -> Int[Tensor, " N"]:
        """Of each text, begin and end tokens included; no more than the context holds."""
        return torch.cat([self._full_ids(chunk)[1] + 1 for chunk in _chunks(texts)])

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        """Rows of the token embedding table."""
        return self._token_table(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Embeddings of token embeddings, differentiable. What stands behind an end token changes nothing.

        Raises:
            UserError: the text tower cannot be fed token embeddings.
        """
        if not self.can_encode_tokens:
            raise UserError(
                "This method feeds token embeddings to the text tower, which must then give what its library gives for "
                "the words; this backbone's does not. Choose another backbone, such as backbone=mini."
            )
        self._prepare_here()
        road = self._shortened_road if self.can_cut else self._whole_road
        return road(token_embeddings.to(self.dtype), end).float()

    def encode_continuations(
        self, beginnings: Float[Tensor, "S M P E"], endings: Float[Tensor, "N R E"], end: Int[Tensor, " N"]
    ) -> Float[Tensor, "S N D"]:
        """Embeddings of every ending behind every beginning, differentiable.

        A causal tower computes the same of a beginning whatever follows, so a shared one goes through once for many.

        Args:
            beginnings: token embeddings, begin token included. M is 1 where all endings share them, or N.
            endings: token embeddings, filled up behind their end tokens.
            end: position of each end token in its whole text; on the CPU, since the shape of a pass hangs on it.

        Raises:
            UserError: the text tower cannot be fed token embeddings.
        """
        if self.can_pack and beginnings.shape[1] == 1:
            self._prepare_here()
            return self._packed_road(beginnings[:, 0].to(self.dtype), endings.to(self.dtype), end).float()
        shape = len(beginnings), len(endings)
        tokens = torch.cat([beginnings.expand(*shape, -1, -1), endings.expand(*shape, -1, -1)], dim=2).flatten(0, 1)
        ends = end.repeat(len(beginnings)).to(tokens.device, non_blocking=True)
        return self.encode_tokens(tokens, ends).unflatten(0, shape)

    def encode_token_ids(self, ids: Int[Tensor, "N L"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Embeddings of tokenized texts."""
        if self.can_cut:
            return self.encode_tokens(self.embed_tokens(ids), end)
        self._prepare_here()
        return self._library_road(ids, end).float()

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embeddings of texts, one batch."""
        (ids, end), device = self.tokenize(texts), next(self.parameters()).device
        return self.encode_token_ids(ids.to(device), end.to(device))

    @property
    @abstractmethod
    def _towers(self) -> Sequence[nn.Module]:
        """What torch.compile is for: the part that does the work of images, then those of texts."""

    @property
    @abstractmethod
    def _token_table(self) -> nn.Module:
        """The text tower's token embedding table."""

    @abstractmethod
    def _encode_images(self, images: Tensor) -> Tensor:
        """The library's call for images."""

    @abstractmethod
    def _full_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids [N, context_length], longer texts cut, and the position of each end token."""

    @abstractmethod
    def _num_tokens(self, text: str) -> int:
        """Of the whole text, begin and end tokens included."""

    @abstractmethod
    def _library_road(self, ids: Tensor, end: Tensor) -> Tensor:
        """The library's call for texts of full length."""

    @abstractmethod
    def _shortened_road(self, token_embeddings: Tensor, end: Tensor) -> Tensor:
        """What the library's call does, from token embeddings of any length."""

    def _whole_road(self, token_embeddings: Tensor, end: Tensor) -> Tensor:
        """The library's call for texts of full length, from token embeddings of any length."""
        return self._fed_road(self.filling.whole(token_embeddings, end, self._token_table), end)

    def _fed_road(self, token_embeddings: Tensor, end: Tensor) -> Tensor:
        """The library's call on ids that say where a text ends; their embeddings are replaced on the way."""
        with replaced(self._token_table, token_embeddings):
            return self._library_road(self.filling.ids(end, token_embeddings.shape[1]), end)

    def _packed_road(self, beginnings: Tensor, endings: Tensor, end: Tensor) -> Tensor:
        """The shortened road for shared beginnings [S, P, E]: of towers that take a mask."""
        raise NotImplementedError

    @torch.inference_mode()
    def _settle(self, own: ImageTransform, pixels: ImageTransform, identity: Sequence[Any]) -> None:
        """The last step of loading, once network, tokenizer and context length are there.

        Args:
            own: the model's image transform.
            pixels: its last part, from a picture of the right size on: scaling, mean and standard deviation.
            identity: of the tokenizer and of the library's config, for the fingerprint.
        """
        self.network.float().requires_grad_(False).eval()
        self._take(chosen_transform(self.transform, own, pixels))
        transform = re.sub(r" at 0x[0-9a-f]+", "", str(self._transform))  # an address differs from run to run
        arithmetic = f"{self.precision} compiled" if self.compiled else self.precision
        empty, first_end = self._full_ids([""])
        with torch.inference_mode(False):  # backward passes may use it
            self.filling = Filling(empty[0].tolist(), int(first_end))
        ids, end = self._full_ids(CHECK_TEXTS)
        setting = [*identity, self.context_length, transform, arithmetic, CODE_VERSION]
        self.fingerprint = fingerprint(self.network, setting, lambda: self._on_probe(ids, end))
        # The check runs in float32, before the cast: there the roads differ by rounding alone.
        expected = self._library_road(ids, end)
        self.embedding_dim = int(expected.shape[-1])
        self.can_cut = self._is_exact(lambda tokens: self._shortened_road(tokens, end), ids, end, expected)
        self.can_encode_tokens = self.can_cut or self._is_exact(
            lambda tokens: self._whole_road(tokens, end), ids, end, expected
        )
        begin = self.filling.begin  # what all texts share
        self.can_pack = self._is_exact(
            lambda tokens: self._packed_road(tokens[:1, :begin], tokens[:, begin:], end)[0], ids, end, expected
        )
        self.dtype = PRECISIONS[self.precision]
        self.network.to(self.dtype)

    def _on_probe(self, ids: Tensor, end: Tensor) -> list[Tensor]:
        """What the library's calls make of fixed texts and pictures, in the network's own precision."""
        pixels = torch.stack([self._transform(picture.convert("RGB")) for picture in PROBE_PICTURES])
        return [self._library_road(ids, end), self._encode_images(pixels.to(next(self.parameters()).dtype))]

    def _is_exact(self, road: Callable[[Tensor], Tensor], ids: Tensor, end: Tensor, expected: Tensor) -> bool:
        length = int(end.max()) + 1
        if length == ids.shape[1]:  # nothing to cut, nothing to see
            return False
        try:
            ours = road(self.embed_tokens(ids[:, :length]))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # a tower of another build
            return False
        return ours.shape == expected.shape and torch.allclose(ours, expected, atol=1e-5, rtol=1e-4)

    def _cut_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """`tokenize`, of a chunk."""
        ids, end = self._full_ids(texts)
        self._check_lengths(texts, ids)
        return (ids[:, : int(end.max()) + 1].clone() if self.can_cut else ids), end

    def _check_lengths(self, texts: Sequence[str], ids: Tensor) -> None:
        """A text that the tokenizer has silently truncated is an error or a counted warning."""
        # Only a text that fills its row can have been cut. Its end token may be the one that pads as well.
        full: list[int] = (ids[:, -2] != self.padding_id).nonzero().flatten().tolist()
        cut = [texts[i] for i in full if self._num_tokens(texts[i]) > self.context_length]
        if cut and self.long_texts == "error":
            raise UserError(
                f"A text must fit the context of {self.context_length} tokens; {len(cut)} do not, the first is "
                f"{cut[0]!r}. Shorten it, or set backbone.long_texts=truncate."
            )
        if cut:
            logger.warning("%d texts were cut at %d tokens, the first is %r", len(cut), self.context_length, cut[0])

    def _prepare_here(self) -> None:
        """What waits for a first batch: a backbone does not know its device before.

        Compiled code does not travel to a spawned process: pickling drops it, and it is made anew there.
        """
        device = next(self.network.parameters()).device
        if device != self._prepared_for:
            if self.dtype != torch.float32 and device.type == "cpu":
                warn_of_half_precision_on_a_cpu(self.precision)
            self._prepared_for, self.memory_format = device, memory_format(self._towers[0], device)
            with torch.inference_mode(False):
                self._towers[0].to(memory_format=self.memory_format)
        for i, tower in enumerate(self._towers if self.compiled else ()):
            if tower._compiled_call_impl is None:
                # The number of images is fixed, since passes fill their batches up; the lengths of texts are many.
                tower.compile(dynamic=i > 0 or None)


def _chunks(texts: Sequence[str]) -> list[Sequence[str]]:
    return [texts[i : i + TEXTS_AT_ONCE] for i in range(0, len(texts), TEXTS_AT_ONCE)]
