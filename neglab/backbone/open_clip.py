"""Backbones of the open_clip library: OpenAI's and LAION's CLIP, and any folder in open_clip's own format."""

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Sequence
from typing import Any, cast

import open_clip
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neglab.backbone.base import Backbone, ImageTransform
from neglab.types import UserError

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
CHECK_TEXTS = ("cat", "This is a longer photo, whose end token stands elsewhere")
# Raised when the same weights would give other embeddings than before: old entries of the store no longer match.
CODE_VERSION = 1

logger = logging.getLogger(__name__)


class OpenCLIPBackbone(Backbone):
    """A dual encoder loaded by open_clip.

    CLIP's text tower is causal and read at its end token, so what follows that token changes nothing: texts are cut
    at the longest of their batch. Whether the shortened road gives the library's own embeddings is checked once at
    loading; a tower for which it does not keeps the library's call.

    Args:
        model: open_clip's model name ("ViT-B-16-quickgelu"), or a schema: "local-dir:FOLDER", "hf-hub:OWNER/NAME".
        pretrained: tag of the weights ("openai") or a local file; None with a schema, or for random weights.
        precision: "fp32", "fp16" or "bf16": of weights and activations.
        long_texts: "error", or "truncate" to cut a text at the context length and say how many were cut.

    Raises:
        UserError: the model or its weights cannot be found or do not fit each other.

    Source: Ilharco et al., OpenCLIP, v3.3.0; Radford et al., "Learning Transferable Visual Models From Natural
        Language Supervision", 2021.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None,
        precision: str,
        long_texts: str,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise UserError(f"backbone.precision must be one of {', '.join(PRECISIONS)}; got {precision!r}.")
        if long_texts not in ("error", "truncate"):
            raise UserError(f"backbone.long_texts must be error or truncate; got {long_texts!r}.")
        self.long_texts = long_texts
        self.dtype = PRECISIONS[precision]
        self.network: Any
        self.network, self._transform = _load(model, pretrained)
        self.tokenizer: Any = open_clip.get_tokenizer(model)
        self.network.requires_grad_(False).eval()
        self.context_length = int(self.network.context_length)
        self.logit_scale = round(float(self.network.logit_scale.exp()), 4)
        self.fingerprint = _fingerprint(self.network, self.tokenizer, self._transform, precision)
        # The check runs in float32, before the cast: there the two roads differ by rounding alone.
        self.can_encode_tokens = self._shortening_is_exact()
        self.embedding_dim = int(self._library_road(self._full_ids(["cat"])).shape[1])
        self.network.to(self.dtype)

    @property
    def _tower(self) -> Any:
        """CustomTextCLIP keeps its text tower in `.text`; CLIP spreads the same parts over itself."""
        return getattr(self.network, "text", self.network)

    def image_transform(self) -> ImageTransform:
        return self._transform

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        return self.network.encode_image(images.to(self.dtype)).float()

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        ids = self._full_ids(texts)
        end = self._end_positions(ids)
        if self.can_encode_tokens:
            ids = ids[:, : int(end.max()) + 1]
        return ids, end

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        return self._tower.token_embedding(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        if not self.can_encode_tokens:
            raise UserError(
                "This method feeds token embeddings to the text tower, which must then be causal and read at its end "
                "token; this backbone's is not. Choose another backbone, such as backbone=mini."
            )
        tower, length = self._tower, token_embeddings.shape[1]
        hidden = token_embeddings.to(self.dtype) + tower.positional_embedding[:length].to(self.dtype)
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length].to(self.dtype))
        hidden = tower.ln_final(hidden[torch.arange(len(hidden), device=hidden.device), end])
        projection = tower.text_projection
        if isinstance(projection, nn.Linear):
            hidden = projection(hidden)
        elif projection is not None:
            hidden = hidden @ projection
        return hidden.float()

    def encode_token_ids(self, ids: Int[Tensor, "N L"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.encode_tokens(self.embed_tokens(ids), end) if self.can_encode_tokens else self._library_road(ids)

    def _library_road(self, ids: Tensor) -> Tensor:
        return self.network.encode_text(ids).float()

    def _full_ids(self, texts: Sequence[str]) -> Tensor:
        """[N, context_length]; a text that open_clip would silently truncate is an error or a counted warning."""
        ids = self.tokenizer(list(texts))
        # Only a text that reaches the last place can have been cut.
        padding = getattr(getattr(self.tokenizer, "tokenizer", None), "pad_token_id", 0)
        full: list[int] = (ids[:, -1] != padding).nonzero().flatten().tolist()
        cut = [texts[i] for i in full if self._num_tokens(texts[i]) > self.context_length]
        if cut and self.long_texts == "error":
            raise UserError(
                f"A text must fit the context of {self.context_length} tokens; {len(cut)} do not, the first is "
                f"{cut[0]!r}. Shorten it, or set backbone.long_texts=truncate."
            )
        if cut:
            logger.warning("%d texts were cut at %d tokens, the first is %r", len(cut), self.context_length, cut[0])
        return ids

    def _num_tokens(self, text: str) -> int:
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(text)) + 2  # begin and end
        return len(self.tokenizer.tokenizer(text).input_ids)

    def _end_positions(self, ids: Tensor) -> Tensor:
        """CLIP's end token has the highest id; other tokenizers name theirs."""
        pool_type = getattr(self._tower, "pool_type", getattr(self._tower, "text_pool_type", "argmax"))
        if pool_type == "eos":
            end_id = getattr(self._tower, "eos_id", getattr(self._tower, "text_eos_id", None))
            return (ids == end_id).int().argmax(dim=1)
        return ids.argmax(dim=1)

    @torch.inference_mode()
    def _shortening_is_exact(self) -> bool:
        parts = ("token_embedding", "positional_embedding", "transformer", "ln_final", "attn_mask", "text_projection")
        if not all(hasattr(self._tower, part) for part in parts) or self._tower.attn_mask is None:
            return False
        full = self._full_ids(CHECK_TEXTS)
        end = self._end_positions(full)
        precision, self.dtype, self.can_encode_tokens = self.dtype, torch.float32, True
        try:
            ours = self.encode_tokens(self.embed_tokens(full[:, : int(end.max()) + 1]), end)
            return torch.allclose(ours, self._library_road(full), atol=1e-5, rtol=1e-4)
        except RuntimeError:  # a tower whose shapes do not follow CLIP's
            return False
        finally:
            self.dtype = precision


def _load(model: str, pretrained: str | None) -> tuple[nn.Module, ImageTransform]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # open_clip warns about random weights, which tests ask for
            network, _, transform = open_clip.create_model_and_transforms(model, pretrained=pretrained)
    except (RuntimeError, FileNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"backbone.model={model} with backbone.pretrained={pretrained} could not be loaded: {error} "
            "open_clip.list_pretrained() lists the names and tags."
        ) from error
    return network, cast(ImageTransform, transform)


def _fingerprint(network: nn.Module, tokenizer: Any, transform: ImageTransform, precision: str) -> str:
    content = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        content.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        content.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    tokenizer_name = getattr(tokenizer, "tokenizer", tokenizer).__class__.__name__
    transform_name = re.sub(r" at 0x[0-9a-f]+", "", str(transform))  # a function's address differs from run to run
    setting = [tokenizer_name, len(getattr(tokenizer, "encoder", ())), transform_name, precision, CODE_VERSION]
    content.update(json.dumps(setting).encode())
    return content.hexdigest()
