"""Faster ways from a JPEG to the tower's input: what they save, and how far they move embeddings and scores.

Pillow's draft mode lets libjpeg decode at a half, a quarter or an eighth of the size, where that is still large
enough. torchvision's decoder gives Pillow's pixels; it resizes tensors by the same filter, rounded otherwise.
Scores are MCM's on the shipped pictures, enlarged to photographs' size and written as JPEGs, with the shipped model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import torch
from hydra.utils import instantiate
from PIL import Image
from torch.nn.functional import normalize
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.base import Backbone
from neglab.compose import compose
from neglab.data.sources import ImageSource
from neglab.metrics import AUROC

SIDE = 400  # pixels of the enlarged pictures
WAYS = ("Pillow", "Pillow's draft mode", "torchvision's tensors")

Way = Callable[[bytes, int], torch.Tensor]


def as_input(pixels: torch.Tensor) -> torch.Tensor:
    """From [3, S, S] in 0 to 255 to what the shipped tower takes."""
    return (pixels.float() / 255 - 0.5) / 0.5


def cropped(size: int) -> Compose:
    """CLIP's shape, of a picture by Pillow and of a tensor by torch."""
    return Compose([Resize(size, InterpolationMode.BICUBIC, antialias=True), CenterCrop(size)])


def with_pillow(content: bytes, size: int, draft: bool = False) -> torch.Tensor:
    with Image.open(BytesIO(content)) as image:
        if draft:
            image.draft("RGB", (size, size))  # the smallest scale whose both edges are no shorter
        small = cropped(size)(image.convert("RGB"))
    return as_input(pil_to_tensor(small))


def with_tensors(content: bytes, size: int) -> torch.Tensor:
    pixels = decode_jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    return as_input(torch.as_tensor(cropped(size)(pixels)))


def every(way: Way, jpegs: Sequence[bytes], size: int) -> list[torch.Tensor]:
    return [way(jpeg, size) for jpeg in jpegs]


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a loader's worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def enlarged(pictures: Sequence[ImageSource]) -> list[bytes]:
    """The pictures as JPEGs of a photograph's size."""
    found = []
    for picture in pictures:
        content = BytesIO()
        picture.rgb().resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        found.append(content.getvalue())
    return found


@torch.inference_mode()
def mcm_scores(backbone: Backbone, classes: torch.Tensor, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    embeddings = normalize(backbone.encode_image(torch.stack(list(inputs))), dim=1)
    return (embeddings @ classes.T).softmax(dim=1).amax(dim=1)


def auroc(scores: torch.Tensor) -> float:
    """The first half is ID."""
    metric = AUROC()
    metric.update(scores, torch.arange(len(scores)) < len(scores) // 2)
    return float(metric.compute())


def measure(num_images: int = 300, large: int = 224) -> Figure:
    """On so many ID and as many OOD pictures, to the shipped model's own pixels and to `large`, which are CLIP's."""
    config = compose(["method=mcm"])
    backbone, prompts = instantiate(config.backbone), instantiate(config.prompt)
    id_images, ood_images = instantiate(config.id_dataset), instantiate(config.ood_datasets.animals)
    names = id_images.class_names()
    texts, owner = prompts.expand(names.names, names.parts_of_speech)
    classes = prompts.average(backbone.encode_text(texts), owner, len(names))
    sets = [dataset.images().sources for dataset in (id_images, ood_images)]
    # Spread over the whole set, since its folders stand one after the other.
    spread = [sources[:: max(1, len(sources) // num_images)][:num_images] for sources in sets]
    jpegs = enlarged([source for sources in spread for source in sources])
    ways: dict[str, Way] = dict(zip(WAYS, (with_pillow, partial(with_pillow, draft=True), with_tensors), strict=True))
    own = torch.stack([backbone.image_transform()(Image.open(BytesIO(jpeg)).convert("RGB")) for jpeg in jpegs[:8]])
    small = own.shape[-1]
    with one_thread():
        inputs = {name: every(way, jpegs, small) for name, way in ways.items()}
        times = {
            size: seconds({name: partial(every, way, jpegs[:100], size) for name, way in ways.items()}, 2)
            for size in (small, large)
        }
    scores = {name: mcm_scores(backbone, classes, rows) for name, rows in inputs.items()}
    reference = scores["Pillow"]
    return Figure(
        what=f"JPEGs of {SIDE} x {SIDE} decoded and resized, one thread",
        plain="Pillow, as neglab and the official codes read them",
        ratios=tuple(
            Ratio(f"Pillow / {name}, to {size}", times[size]["Pillow"] / times[size][name])
            for size in (large, small)
            for name in WAYS[1:]
        ),
        difference=float((torch.stack(inputs["Pillow"][:8]) - own).abs().max()),
        tolerance=1e-6,
        details={
            "milliseconds per image": {
                size: {name: 1000 * total / len(jpegs[:100]) for name, total in found.items()}
                for size, found in times.items()
            },
            f"at {small}, MCM of the shipped model": {
                name: {
                    "AUROC moves by": auroc(found) - auroc(reference),
                    "largest change of a score": float((found - reference).abs().max()),
                    "standard deviation of the scores": float(reference.std()),
                }
                for name, found in scores.items()
            },
        },
    )


if __name__ == "__main__":
    report("decoding", measure)
