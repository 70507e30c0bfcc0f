"""The TextEncoder of a scoring pass: encodes in the running process, on the device where it scores."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.embedding.gallery import Gallery
from neglab.prompt.templates import PromptTemplates
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import PartOfSpeech, UserError, generator


class TokenDoor:
    """The token methods of a TextEncoder: the backbone's own, with unit-norm embeddings."""

    backbone: Backbone

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        return self.backbone.tokenize(texts)

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        return self.backbone.embed_tokens(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return normalize(self.backbone.encode_tokens(token_embeddings, end), dim=1)

    def encode_continuations(
        self, beginnings: Float[Tensor, "S M P E"], endings: Float[Tensor, "N R E"], end: Int[Tensor, " N"]
    ) -> Float[Tensor, "S N D"]:
        return normalize(self.backbone.encode_continuations(beginnings, endings, end), dim=2)


class DirectTextEncoder(TokenDoor, nn.Module):
    """Encodes what a score asks for while it runs, without a pass of its own.

    A name that was encoded once is kept: in memory, and in the store for later runs.

    Args:
        backbone: moves with the module that holds this one.
        prompts: templates that turn names into texts.
        folder: of the store, for names under this backbone and these prompts.
        batch_size: texts per forward pass.
        gallery: the pictures of the images to be scored, for scores that look at them; None: there are none.

    Attributes:
        num_encoded: texts that went through the tower since construction.
    """

    def __init__(
        self,
        backbone: Backbone,
        prompts: PromptTemplates,
        folder: Path,
        batch_size: int,
        gallery: Gallery | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.prompts, self.batch_size, self.gallery = backbone, prompts, batch_size, gallery
        self.num_encoded = 0
        # Of names, not of their prompts: pairs of names are many, and a name has several prompts.
        self._names = StoredRows(folder, backbone.embedding_dim)

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        keys = KeyedTexts([f"{part}:{name}" for name, part in zip(names, parts_of_speech, strict=True)])
        if len(lacking := self._names.lacking(keys)):
            place = dict(zip(keys.texts, zip(names, parts_of_speech, strict=True), strict=True))
            new, parts = zip(*(place[key] for key in lacking.texts), strict=True)
            texts, owner = self.prompts.expand(new, parts)
            embeddings = self.prompts.average(self._raw(texts), owner.to(self._device), len(new))
            self._names.add(lacking, embeddings.cpu())
        return self._names.rows(keys).to(self._device)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        return normalize(self._raw(texts), dim=1)

    @torch.inference_mode()
    def encode_noise_images(self, count: int, seed: int) -> Float[Tensor, "N D"]:
        """Embeddings of noise: Gaussian, uniform, Poisson, gamma and black-and-white pixels, in turn by fifths.

        Args:
            count: how many, a multiple of 5.
            seed: of the noise.

        Raises:
            UserError: `count` is no multiple of 5.

        Source: TANL, OpenOOD-VLM at 804f331, clip_fixed_ood_prompt.py: pixels in [0, 1], not normalised further.
        """
        if count % 5:
            raise UserError(f"Noise images come in five kinds, so their number must be a multiple of 5; got {count}.")
        draw, pixels = generator(seed), self.backbone.image_transform()(Image.new("RGB", (64, 64)))
        shape = (count // 5, *pixels.shape)
        uniform = [torch.rand(shape, generator=draw) for _ in range(4)]
        gamma = -uniform[0].clamp(min=1e-12).log() - uniform[1].clamp(min=1e-12).log()  # shape 2, scale 1
        kinds = [
            _to_unit_range(torch.randn(shape, generator=draw)),
            uniform[2],
            _to_unit_range(torch.poisson(torch.full(shape, 5.0), generator=draw)),
            _to_unit_range(gamma),
            (uniform[3] >= 0.5).float(),
        ]
        return normalize(self.backbone.encode_image(torch.cat(kinds).to(self._device)), dim=1)

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def _raw(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """The tower's rows; each distinct text once, texts of one length in tokens together."""
        distinct = list(dict.fromkeys(texts))
        ids, end = self.backbone.tokenize(distinct)  # all at once, since their lengths make the batches
        order = end.argsort(stable=True)
        encoded = torch.cat([self._encoded(ids[batch], end[batch]) for batch in order.split(self.batch_size)])
        self.num_encoded += len(distinct)
        row = dict(zip(distinct, order.argsort().tolist(), strict=True))
        return encoded[torch.tensor([row[text] for text in texts], device=encoded.device)]

    @torch.inference_mode()
    def _encoded(self, ids: Int[Tensor, "N L"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        length = int(end.max()) + 1 if self.backbone.can_cut else ids.shape[1]
        return self.backbone.encode_token_ids(ids[:, :length].to(self._device), end.to(self._device))


@contextmanager
def forgetful_encoder(backbone: Backbone, prompts: PromptTemplates, batch_size: int) -> Iterator[DirectTextEncoder]:
    """An encoder that forgets its texts after the block: earlier calls must not move the last bits of later ones."""
    with tempfile.TemporaryDirectory(prefix="neglab-names-") as place:
        yield DirectTextEncoder(backbone, prompts, Path(place), batch_size)


def _to_unit_range(noise: Tensor) -> Tensor:
    return (noise - noise.min()) / (noise.max() - noise.min())
