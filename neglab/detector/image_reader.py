"""Encodes the images of a Python program batch by batch; those that cannot be read stop nothing."""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor

from neglab.detector.image_inputs import Reading, num_images, readings
from neglab.embedding.local import ImageRows
from neglab.types import UserError

logger = logging.getLogger(__name__)


class ReadImages(NamedTuple):
    """Images and their embeddings.

    Attributes:
        embeddings: of those that can be read, in their order.
        paths: of all.
        errors: by position among all, why one cannot be read.
    """

    embeddings: Float[Tensor, "K D"]
    paths: list[str | None]
    errors: dict[int, str]

    @property
    def places(self) -> list[int]:
        """Positions of those that can be read, among all."""
        return [i for i in range(len(self.paths)) if i not in self.errors]


@torch.no_grad()
def read_images(
    images: object, rows: ImageRows, device: torch.device, batch_size: int, progress_bar: bool
) -> ReadImages:
    """Read and embed; a warning counts those that cannot be read.

    Args:
        images: as the Python face takes them.
        rows: what the score sees of them; the backbone is on the device.
        device: where to compute.
        batch_size: images per forward pass.
        progress_bar: show one on a terminal where there is more than one batch.

    Raises:
        UserError: what is no image in any form that is taken, or an embedding that is not finite.
    """
    embeddings, paths, errors = [torch.empty(0, rows.width)], [], {}
    waiting: list[Tensor] = []

    def encode() -> None:
        embeddings.append(rows(torch.stack(waiting).to(device)).cpu())
        waiting.clear()

    found = readings(images, rows.backbone.image_transform())
    for reading in _with_bar(found, num_images(images), batch_size) if progress_bar else found:
        if reading.pixels is None:
            errors[len(paths)] = reading.error
        else:
            waiting.append(reading.pixels)
        paths.append(reading.path)
        if len(waiting) == batch_size:
            encode()
    if waiting:
        encode()
    if errors:
        logger.warning("%d of %d images cannot be read, such as %s", len(errors), len(paths), _example(paths, errors))
    whole = torch.cat(embeddings)
    if not whole.isfinite().all():
        raise UserError("Embeddings must be finite; some are not. Try backbone.precision=fp32.")
    return ReadImages(whole, paths, errors)


def _with_bar(found: Iterable[Reading], total: int | None, batch_size: int) -> Iterable[Reading]:
    console = Console(stderr=True)
    hidden = not console.is_terminal or (total is not None and total <= batch_size)
    return track(found, "Images", total=total, console=console, transient=True, disable=hidden)


def _example(paths: Sequence[str | None], errors: dict[int, str]) -> str:
    position, error = next(iter(errors.items()))
    return f"{paths[position] or f'that in place {position}'}: {error}"
