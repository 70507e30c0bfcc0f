"""JPEG files that the device decodes, a batch at once; loading workers only read them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from io import BytesIO
from typing import Any

import torch
import torchvision
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from neglab.data.base import UNREADABLE
from neglab.data.pictures import as_rgb
from neglab.types import UserError
from neglab.weights.pixels import Pictures

CPU = torch.device("cpu")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undecoded:
    """Pictures for a device to decode, as loading workers hand them on: JPEG files, and others, decoded already.

    Attributes:
        files: their bytes, one after the other; they stay on the CPU, where decoders take them.
        lengths: bytes of each picture's file; 0: it is the next of `others`.
        others: those of which no file is handed on.
        device: that decodes.
    """

    files: UInt8[Tensor, " N"]
    lengths: tuple[int, ...]
    others: Pictures
    device: torch.device = CPU

    @classmethod
    def of(cls, pictures: Sequence[UInt8[Tensor, "..."]]) -> "Undecoded":
        """Of files [N] and decoded pictures [3, H, W]."""
        files = [picture for picture in pictures if picture.ndim == 1]
        lengths = tuple(len(picture) if picture.ndim == 1 else 0 for picture in pictures)
        others = Pictures.of([picture for picture in pictures if picture.ndim == 3])
        return cls(torch.cat([torch.empty(0, dtype=torch.uint8), *files]), lengths, others)

    def __len__(self) -> int:
        return len(self.lengths)

    def pin_memory(self) -> "Undecoded":
        """For the loader, as of a tensor."""
        return replace(self, others=self.others.pin_memory())

    def to(self, device: torch.device) -> "Undecoded":
        """For Lightning, as of a tensor: where it is decoded."""
        return replace(self, others=self.others.to(device), device=device)

    def decoded(self) -> list[UInt8[Tensor, "3 _ _"] | None]:
        """Each picture on the device; None: its file is damaged."""
        files = [file for file in self.files.split(list(self.lengths)) if len(file)]
        made, others = iter(_decoded(files, self.device)), iter(self.others)
        return [next(made) if length else next(others) for length in self.lengths]


def _decoded(files: Sequence[UInt8[Tensor, " _"]], device: torch.device) -> list[UInt8[Tensor, "3 _ _"] | None]:
    if not files:
        return []
    check_decoder(device)
    try:
        return [*decode(files, device)]
    except RuntimeError as error:
        _say_that_pillow_helps(device, str(error).partition("\n")[0])
    return [_alone(file, device) for file in files]


def _alone(file: UInt8[Tensor, " _"], device: torch.device) -> UInt8[Tensor, "3 _ _"] | None:
    """By the device, or else by Pillow, which knows more kinds of JPEG files."""
    try:
        return decode([file], device)[0]
    except RuntimeError:
        pass
    try:
        with Image.open(BytesIO(file.numpy().tobytes())) as image:
            return pil_to_tensor(as_rgb(image)).to(device)
    except UNREADABLE:
        return None


@cache  # said once in each process
def _say_that_pillow_helps(device: torch.device, reason: str) -> None:
    logger.warning("%s cannot decode some JPEG files (%s); Pillow takes them, one by one", device, reason)


def decode(files: Sequence[UInt8[Tensor, " _"]], device: torch.device) -> list[UInt8[Tensor, "3 _ _"]]:
    """JPEG files as RGB, on the device.

    Raises:
        RuntimeError: one cannot be decoded there.

    Source: torchvision's `decode_jpeg`: libjpeg-turbo on the CPU, nvJPEG on an NVIDIA GPU.
    """
    from torchvision.io import ImageReadMode, decode_jpeg  # here, since torchvision means to give it up

    if device.type != "cuda":
        return [image.to(device) for image in decode_jpeg(list(files), ImageReadMode.RGB)]
    # nvJPEG does not wait for the kernels of this stream, which may still read the memory that is freed for it
    # (pytorch/vision, pull request 9606). Memory of another stream is freed when all that read it have.
    here, beside = torch.cuda.current_stream(device), _stream_beside(device)
    with torch.cuda.stream(beside):
        images = decode_jpeg(list(files), ImageReadMode.RGB, device)
    here.wait_stream(beside)
    for image in images:
        image.record_stream(here)
    return [*images]


@cache
def _stream_beside(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


@cache
def check_decoder(device: torch.device) -> None:
    """Raise a UserError where this torchvision cannot decode on the device."""
    content = BytesIO()
    Image.new("RGB", (16, 16)).save(content, "JPEG")
    try:
        decode([torch.frombuffer(bytearray(content.getvalue()), dtype=torch.uint8)], device)
    except (ImportError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"data.decode=device takes a torchvision that decodes JPEG files on {device}; version "
            f"{torchvision.__version__} does not: {reason}. Set data.decode=pillow; data.resize=device still resizes "
            "there."
        ) from error
