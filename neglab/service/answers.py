"""What is answered of an image, in the words of the OpenAPI page."""

from collections.abc import Sequence
from io import BytesIO

import torch
from PIL import Image
from pydantic import BaseModel, Field
from torch import Tensor

from neglab.data.base import UNREADABLE, UnreadableImageError
from neglab.data.pictures import as_rgb, upright
from neglab.detector import Detector
from neglab.metrics.explanation import label_shares

# What people send; others of Pillow's decoders are seldom used, and so seldom mended.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")


class Label(BaseModel):
    """A label, and its share of one softmax over all classes and negatives."""

    label: str
    share: float


class Judgement(BaseModel):
    """What the detector says of one image. Where it cannot be read, `error` says why and all else is null."""

    name: str | None = Field(default=None, description="as the file was called, or the URL")
    score: float | None = Field(default=None, description="the ID score; higher is more ID")
    is_ood: bool | None = Field(
        default=None, description="the score is below the threshold; null: there is no threshold"
    )
    predicted_class: Label | None = Field(default=None, description="the nearest ID class")
    nearest_negatives: list[Label] = Field(default=[], description="the nearest negative labels, nearest first")
    error: str | None = None


class Answer(BaseModel):
    """To one request: its images in their order, and who judged them."""

    images: list[Judgement]
    model: str
    method: str
    threshold: float | None


def picture(content: bytes, most_pixels: int) -> Image.Image:
    """A file's picture in RGB, turned as its EXIF orientation says.

    Args:
        content: the file.
        most_pixels: that are decoded.

    Raises:
        UnreadableImageError: it is no whole picture of a known format, or too large.
    """
    Image.init()
    try:
        with Image.open(BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN]) as image:
            width, height = image.size
            if width * height > most_pixels:
                raise UnreadableImageError(f"An image may have {most_pixels} pixels; it has {width} x {height}.")
            return as_rgb(upright(image))
    except Image.UnidentifiedImageError as error:
        raise UnreadableImageError(f"It is no image of a known format ({', '.join(FORMATS)}).") from error
    except UNREADABLE as error:
        raise UnreadableImageError(str(error) or type(error).__name__) from error


@torch.no_grad()
def judgements(detector: Detector, images: Sequence[Tensor], num_negatives: int) -> list[Judgement]:
    """What the detector says of images that went through its transform.

    Args:
        detector: judges each image by itself.
        images: [3, H, W] each.
        num_negatives: that are named of each.
    """
    embeddings, bank = detector.embed(torch.stack(list(images))), detector.bank
    temperature = detector.scorer.share_temperature or 1 / bank.logit_scale
    shares = label_shares(embeddings.to(detector.device), bank, temperature, num_negatives)
    nearest = zip(shares.negatives.tolist(), shares.negative_shares.tolist(), strict=True)
    return [
        Judgement(
            score=found.score,
            is_ood=found.is_ood,
            predicted_class=Label(label=found.predicted_class or "", share=found.class_share or 0.0),
            nearest_negatives=[
                Label(label=bank.negatives.names[number], share=share) for number, share in zip(*labels, strict=True)
            ],
        )
        for found, labels in zip(detector.predict_embeddings(embeddings), nearest, strict=True)
    ]
