"""The TextEncoder of a scoring pass: encodes in the running process, on the device where it scores."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from neglab.backbone.base import Backbone
from neglab.prompt.templates import PromptTemplates
from neglab.store import read_parts, write_part
from neglab.types import PartOfSpeech, UserError, generator


class DirectTextEncoder(nn.Module):
    """Encodes what a score asks for while it runs, without a pass of its own.

    A name that was encoded once is kept: in memory, and in the store for later runs.

    Args:
        backbone: moves with the module that holds this one.
        prompts: templates that turn names into texts.
        folder: of the store, for names under this backbone and these prompts.
        batch_size: texts per forward pass.

    Attributes:
        num_encoded: texts that went through the tower since construction.
    """

    def __init__(self, backbone: Backbone, prompts: PromptTemplates, folder: Path, batch_size: int) -> None:
        super().__init__()
        self.backbone, self.prompts, self.folder, self.batch_size = backbone, prompts, folder, batch_size
        self.num_encoded = 0
        self._rows: dict[bytes, Tensor] | None = None  # by the digest of a name

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        keys = [_digest(f"{part}:{name}") for name, part in zip(names, parts_of_speech, strict=True)]
        rows = self._stored_rows()
        missing = {key: i for i, key in enumerate(keys) if key not in rows}
        if missing:
            chosen = list(missing.values())
            texts, owner = self.prompts.expand([names[i] for i in chosen], [parts_of_speech[i] for i in chosen])
            embeddings = self.prompts.average(self._raw(texts), owner.to(self._device), len(chosen)).cpu()
            rows.update(zip(missing, embeddings, strict=True))
            digests = torch.frombuffer(bytearray(b"".join(missing)), dtype=torch.uint8).view(len(chosen), -1)
            write_part(self.folder, {"digests": digests, "embeddings": embeddings})
        return torch.stack([rows[key] for key in keys]).to(self._device)

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

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        return self.backbone.tokenize(texts)

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        return self.backbone.embed_tokens(ids)

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return normalize(self.backbone.encode_tokens(token_embeddings, end), dim=1)

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.parameters()).device

    def _stored_rows(self) -> dict[bytes, Tensor]:
        if self._rows is None:
            self._rows = {}
            for part in read_parts(self.folder):
                digests = [bytes(row) for row in part["digests"].numpy()]
                self._rows.update(zip(digests, part["embeddings"], strict=True))
        return self._rows

    def _raw(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """The tower's rows; each distinct text once, texts of like length together."""
        distinct = sorted(dict.fromkeys(texts), key=len)
        batches = [distinct[i : i + self.batch_size] for i in range(0, len(distinct), self.batch_size)]
        encoded = torch.cat([self.backbone.encode_text(batch) for batch in batches])
        self.num_encoded += len(distinct)
        place = {text: i for i, text in enumerate(distinct)}
        return encoded[torch.tensor([place[text] for text in texts], device=encoded.device)]


def _to_unit_range(noise: Tensor) -> Tensor:
    return (noise - noise.min()) / (noise.max() - noise.min())


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
