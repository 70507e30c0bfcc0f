"""Backbones of the open_clip library: OpenAI's and LAION's CLIP, and any folder in open_clip's own format."""

import hashlib
import json
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import open_clip
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.transforms import Compose

import neglab.weights.prototypes  # noqa: F401 (open_clip finds the shipped model's image tower by its name)
from neglab.backbone.base import Backbone, ImageTransform
from neglab.types import UserError
from neglab.weights.files import advice, check_digests, look_for_hub
from neglab.weights.loading import brief, fixed_random_weights, vocabulary_digest
from neglab.weights.word_ids import WordIds

PACK = 32  # most endings behind one beginning: attention grows with the square of a pack, and 64 are no faster
LOCAL = "local-dir:"  # open_clip's schema of a folder

logger = logging.getLogger(__name__)


class OpenCLIPBackbone(Backbone):
    """A dual encoder loaded by open_clip.

    Args:
        model: open_clip's model name ("ViT-B-16-quickgelu"), or a schema: "local-dir:FOLDER", "hf-hub:OWNER/NAME".
        pretrained: tag of the weights ("openai") or a local file; None with a schema, or for random weights, which are
            the same at every start.
        precision: of weights and activations, as of every backbone.
        long_texts: what becomes of texts beyond the context, as of every backbone.
        transform: of images, as of every backbone.
        compile: the towers, as of every backbone.
        caution: what a person should know before they trust the model; `neglab detect` says it.

    Raises:
        UserError: the model or its weights cannot be found, are damaged or do not fit each other.

    Source: Ilharco et al., OpenCLIP, v3.3.0; Radford et al., "Learning Transferable Visual Models From Natural
        Language Supervision", 2021.
    Differs: SigLIP adds a bias to its logits and takes their sigmoid; here, as for every backbone, scores are made of
        the scaled cosines. A softmax, and any difference of logits, is the same with and without the bias.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None,
        precision: str,
        long_texts: str,
        transform: str,
        compile: bool,
        caution: str | None = None,
    ) -> None:
        super().__init__(precision, long_texts, transform, compile)
        self.caution = caution
        self.network, own, self.tokenizer = _load(model, pretrained)
        self.word_ids = WordIds(self.tokenizer) if WordIds.fit(self.tokenizer) else None
        inner = getattr(self.tokenizer, "tokenizer", None)  # a transformers tokenizer that open_clip wraps
        self.padding_id = getattr(inner, "pad_token_id", 0)
        self.end_id = _end_id(self.tokenizer)
        self.context_length = int(self.tokenizer.context_length)  # a tower of transformers has positions for more
        self.logit_scale = round(float(self.network.logit_scale.detach().exp()), 4)
        words = vocabulary_digest(inner) if inner is not None else _rules(self.tokenizer)
        pixels = Compose(cast(Compose, own).transforms[-3:])  # to RGB, to a tensor, mean and standard deviation
        self._settle(own, pixels, [type(self.tokenizer if inner is None else inner).__name__, words])

    @property
    def _tower(self) -> Any:
        """CustomTextCLIP keeps its text tower in `.text`; CLIP spreads the same parts over itself."""
        return getattr(self.network, "text", self.network)

    @property
    def _towers(self) -> Sequence[nn.Module]:
        # Of a text tower of transformers the layers alone: token embeddings come in by a hook before them.
        text = getattr(self._tower.transformer, "encoder", self._tower.transformer)
        holds_table = any(part is self._token_table for part in text.modules())
        return (self.network.visual,) if holds_table else (self.network.visual, text)

    def _encode_images(self, images: Tensor) -> Tensor:
        return self.network.encode_image(images)

    @property
    def _token_table(self) -> nn.Module:
        tower = self._tower
        return tower.token_embedding if hasattr(tower, "token_embedding") else tower.transformer.get_input_embeddings()

    def _library_road(self, ids: Tensor, end: Tensor) -> Tensor:
        return self.network.encode_text(ids)

    def _shortened_road(self, token_embeddings: Tensor, end: Tensor) -> Tensor:
        tower, length = self._tower, token_embeddings.shape[1]
        hidden = token_embeddings + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=_aligned(tower.attn_mask[:length, :length]))
        return self._projected(hidden[torch.arange(len(hidden), device=hidden.device), end])

    def _packed_road(self, beginnings: Tensor, endings: Tensor, end: Tensor) -> Tensor:
        layout = [part.to(endings.device, non_blocking=True) for part in _layout(end, beginnings.shape[1])]
        chosen, offset, positions, unseen, pack, place = layout
        packs = endings[chosen, offset]
        shape = (len(beginnings), len(packs))
        tokens = torch.cat([beginnings[:, None].expand(*shape, -1, -1), packs.expand(*shape, -1, -1)], dim=2)
        hidden = tokens.flatten(0, 1) + self._tower.positional_embedding[positions]
        mask = hidden.new_zeros(unseen.shape).masked_fill(unseen, -math.inf)
        hidden = self._tower.transformer(hidden, attn_mask=_aligned(mask)).unflatten(0, shape)
        return self._projected(hidden[:, pack, place])

    def _projected(self, hidden: Tensor) -> Tensor:
        hidden, projection = self._tower.ln_final(hidden), self._tower.text_projection
        if isinstance(projection, nn.Linear):
            return projection(hidden)
        return hidden if projection is None else hidden @ projection

    def _full_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        ids = self.tokenizer(list(texts)) if self.word_ids is None else self.word_ids.padded(texts)
        # Behind the end token may stand others of its kind, where it pads as well.
        return ids, (ids == self.end_id).int().argmax(dim=1)

    def _num_tokens(self, text: str) -> int:
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(text)) + 2  # begin and end
        return len(self.tokenizer.tokenizer(self.tokenizer.clean_fn(text), verbose=False).input_ids)


def _layout(end: Int[Tensor, " N"], begin: int) -> tuple[Tensor, ...]:
    """Where endings stand that share a beginning: K packs of them, each behind a beginning of its own.

    An ending has the positions of its own text and sees the beginning and itself. All packs have one mask: a slot has
    room for the longest of its K endings, which are neighbours in length.

    Args:
        end: position of each end token in its whole text.
        begin: P, tokens of the beginning.

    Returns:
        Ending [K, T] and offset in it [T] of the tokens behind a beginning; position [P + T] of all of a pack's tokens
        and which they must not see [P + T, P + T]; pack [N] and place [N] of each end token.
    """
    num_packs = math.ceil(len(end) / PACK)
    by_length = end.argsort(stable=True)
    rank = by_length.argsort()
    slots = pad(by_length, (0, -len(end) % num_packs)).view(-1, num_packs)
    room = end[slots].amax(dim=1) + 1 - begin
    start = room.cumsum(0) - room
    owner = torch.arange(len(room)).repeat_interleave(room)
    offset = torch.arange(len(owner)) - start[owner]
    positions = torch.cat([torch.arange(begin), begin + offset])
    owners = torch.cat([torch.full((begin,), -1), owner])
    seen = (positions <= positions[:, None]) & ((owners == owners[:, None]) | (owners == -1))
    return slots.T[:, owner], offset, positions, ~seen, rank % num_packs, start[rank // num_packs] + end


def _aligned(mask: Float[Tensor, "L L"]) -> Float[Tensor, "L L"]:
    """With rows that begin at multiples of 16 bytes: a GPU's fastest attention takes no others.

    There is always a gap between rows: masks with and without one would be two kinds for torch.compile.
    """
    return pad(mask, (0, 8 - len(mask) % 8))[:, : len(mask)]


def _load(model: str, pretrained: str | None) -> tuple[nn.Module, ImageTransform, Any]:
    """The network, its image transform and its tokenizer."""
    is_random = pretrained is None and ":" not in model
    if model.startswith(LOCAL):
        check_digests(Path(model.removeprefix(LOCAL)))
    elif not is_random:
        look_for_hub()
    try:
        with warnings.catch_warnings(record=True) as caught, fixed_random_weights(), _own_lines_unsaid():
            warnings.simplefilter("always")
            network, _, transform = open_clip.create_model_and_transforms(
                model, pretrained=pretrained, require_pretrained=not is_random
            )
            tokenizer = open_clip.get_tokenizer(model)
    # Damaged and foreign files raise errors of many kinds in open_clip and in what it reads them with.
    except Exception as error:
        name = f"backbone.model={model} with backbone.pretrained={pretrained}"
        if unreachable := advice(error):
            raise UserError(f"The weights of {name} are not on this machine.{unreachable}") from error
        raise UserError(
            f"{name} could not be loaded: {brief(error)} open_clip.list_pretrained() lists the names and tags; a "
            "weights file must be of this very model."
        ) from error
    for warning in caught:
        if "QuickGELU mismatch" in str(warning.message):
            raise UserError(
                f"Weights must run with the activation that they were trained with; backbone.model={model} has another "
                f"than backbone.pretrained={pretrained}. Set backbone.model={_other_activation(model)}."
            )
    if is_random:
        logger.warning("The weights of %s are random: every number of this run is meaningless", model)
    return network, cast(ImageTransform, transform), tokenizer


@contextmanager
def _own_lines_unsaid() -> Iterator[None]:
    """Without what open_clip writes to the root logger: its errors say the same."""
    root = logging.getLogger()
    root.addFilter(_no)
    try:
        yield
    finally:
        root.removeFilter(_no)


def _no(record: logging.LogRecord) -> bool:
    return False


def _rules(tokenizer: open_clip.SimpleTokenizer) -> list[Any]:
    """Words, merges and cleaning of CLIP's own tokenizer."""
    words = hashlib.sha256(json.dumps([tokenizer.encoder, list(tokenizer.bpe_ranks)]).encode()).hexdigest()
    functions = [getattr(one, "__name__", None) for one in (tokenizer.clean_fn, tokenizer.reduction_fn)]
    return [words, tokenizer.pat.pattern, *functions]


def _end_id(tokenizer: Any) -> int:
    """Of the token behind a text's last."""
    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        return tokenizer.eot_token_id
    if getattr(tokenizer, "strip_sep_token", False):  # CLIPA's: open_clip puts a zero in its place
        return 0
    inner = tokenizer.tokenizer
    return inner.sep_token_id if inner.eos_token_id is None else inner.eos_token_id


def _other_activation(model: str) -> str:
    return model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
