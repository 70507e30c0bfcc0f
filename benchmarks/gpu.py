"""What a GPU does of each road: images against the bare forward pass and decoding alone, texts, scores, a language
model's answers, the whole.

Images go to the store by three roads: decoded and resized by Pillow; resized by the device; decoded by it too. The
forward pass is measured as it is and compiled. The language model has random weights; its filter's questions go
through it once each, behind a shared beginning. Random towers show all pictures much the same labels, so NegRefine's
whole run asks for few pairs of names; how fast pairs go is measured on embeddings that share none.

`python -m benchmarks gpu` is made for one H100 with 16 cores, in under ten minutes. Device and sizes are arguments; the
last line of `NO_GPU` is a small run on the processor. `python -m benchmarks.gpu` says each time as soon as it is taken.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from benchmarks.figure import Figure, Ratio, report
from benchmarks.image_pass import HEIGHT, WIDTH, DecodedOnly, write_jpegs
from benchmarks.llm_filter import chat, questions_of, write_model
from neglab.backbone.base import Backbone
from neglab.compose import Kept, build, compose
from neglab.data.base import read_image
from neglab.data.sources import ImageFile
from neglab.embedding.embedder import Embedder
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.llm_filter.base import SYSTEM_PROMPT
from neglab.pipeline import Parts, evaluate
from neglab.types import LabelSet, TextBank, UserError
from neglab.wordnet import synsets

DISTINCT = 1000  # pictures; more images are further names of these
SHARED_MEMORY = Path("/dev/shm")
ROADS = {
    "images": [],
    "images, resized by the device": ["data.resize=device"],
    "images, decoded by the device": ["data.decode=device"],
}
WHOLE = "negrefine"  # whose run is timed from an empty store on
WHOLE_ROADS = {
    "whole run of NegRefine": [],
    "whole run of NegRefine, decoded by the device": ["data.decode=device"],
}
METHODS = ("neglabel", "adaneg", "interneg")  # whose scores are timed
TEXT_BATCH = 4096
PAIR_NEGATIVES = 7000  # about what the filter leaves of ImageNet's
AIM_SECONDS = 60  # of the whole of 100,000 images on one H100; the authors' code took 5,256 s
NO_GPU = (
    "This benchmark needs a GPU, and torch finds none. To see that it works, run it small on the processor: "
    "python -m benchmarks gpu device=cpu images=200 road_images=100 classes=5 words=300 model=ViT-B-32 precision=fp32 "
    "workers=2 compile=0 pair_images=8 questions=64 width=256 layers=4"
)


@dataclass(frozen=True)
class Sizes:
    """What is measured on what.

    Attributes:
        device: "cuda" or "cpu".
        images: of the whole run, in distribution and out of it, half and half.
        road_images: of every other measurement.
        classes: of the ID set.
        words: of the corpus; 0: each method's own.
        model: of open_clip, with random weights, or a schema with its own.
        precision: of the towers.
        workers: processes that decode.
        batch: images per forward pass.
        compile: 1: measure the compiled image tower too.
        pair_images: whose nearest pairs of names NegRefine's score asks for.
        questions: to the language model, in passes of 256.
        width: of the language model, whose feed-forward layers are four times as wide.
        layers: of the language model.
    """

    device: str = "cuda"
    images: int = 100_000
    road_images: int = 16_384
    classes: int = 1000
    words: int = 0
    model: str = "ViT-B-16"
    precision: str = "bf16"
    workers: int = 16
    batch: int = 256
    compile: int = 1
    pair_images: int = 2048
    questions: int = 16_384
    width: int = 1024
    layers: int = 24

    @classmethod
    def typed(cls, arguments: Sequence[str]) -> "Sizes":
        """Of words such as images=200.

        Raises:
            SystemExit: one is none of the sizes.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        values = dict(argument.partition("=")[::2] for argument in arguments)
        if unknown := sorted(values.keys() - kinds.keys()):
            raise SystemExit(f"There is no {', '.join(unknown)}; there are {', '.join(kinds)}, such as images=200.")
        return cls(**{name: int(value) if kinds[name] is int else value for name, value in values.items()})  # pyright: ignore[reportArgumentType]


def nouns() -> list[str]:
    """Of WordNet, each a name that a folder can have."""
    names = dict.fromkeys(one.lemmas[0] for one in synsets() if one.part_of_speech == "noun")
    return [name for name in names if name.replace(" ", "").isalpha()]


def write_sets(folder: Path, pictures: Sequence[Path], names: Sequence[str], count: int) -> list[str]:
    """Folders `id`, of classes, and `outside`, together of so many pictures. Returns the overrides that name them."""
    for place in (folder / "outside" / "ood", *(folder / "id" / name for name in names)):
        place.mkdir(parents=True)
    for i in range(count):
        place = folder / "outside" / "ood" if i % 2 else folder / "id" / names[i // 2 % len(names)]
        os.link(pictures[i % len(pictures)], place / f"{i:07d}.jpg")
    return [
        "id_dataset=image_folder", f"id_dataset.root={folder}/id",
        "ood_datasets=image_folder", f"ood_datasets.image_folder.root={folder}/outside",
        "id_images=image_folder", f"id_images.dataset.root={folder}/id", "data.allow_shared=true",
    ]  # fmt: skip


def parts_of(
    method: str, sizes: Sizes, own: Sequence[str], store: Path, kept: Kept, options: Sequence[str] = ()
) -> Parts:
    overrides = [
        f"method={method}", "llm_filter=none", *own, "backbone=open_clip", f"backbone.model={sizes.model}",
        f"backbone.precision={sizes.precision}", f"paths.store={store}", f"data.image_batch_size={sizes.batch}",
        f"data.text_batch_size={TEXT_BATCH}", f"data.num_workers={sizes.workers}",
        f"trainer={'gpu' if sizes.device == 'cuda' else 'cpu'}", "trainer.progress_bar=false", *options,
    ]  # fmt: skip
    if sizes.words:  # the methods take more than so few words
        takes_number = method in ("adaneg", "interneg")
        share = f"num_labels={sizes.words // 2}" if takes_number else "fraction=0.5"
        overrides += [f"negative_selector.{share}", "score.num_groups=1"]
    return build(compose(overrides, output=store), kept)


def take(times: dict[str, float], name: str, work: Callable[[], object]) -> None:
    """Seconds until the device is done with it. What cannot be done here is said, and left out."""
    begin = time.perf_counter()
    try:
        work()
    except (RuntimeError, UserError) as error:  # no compiler for torch.compile, no nvJPEG
        print(f"{name}: not measured. {error}", file=sys.stderr, flush=True)
        return
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    times[name] = time.perf_counter() - begin
    print(f"{name}: {times[name]:.1f} s", file=sys.stderr, flush=True)


def check_room(sizes: Sizes) -> None:
    """Raise SystemExit where the pictures that wait for the device, of their own size, do not fit between processes."""
    needed = 2 * sizes.workers * sizes.batch * 3 * WIDTH * HEIGHT
    room = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.exists() else needed
    if needed > room:
        raise SystemExit(
            f"{sizes.workers} workers hand on up to {needed / 2**30:.1f} GiB of pictures through {SHARED_MEMORY}, which"
            f" has {room / 2**30:.1f} GiB. Enlarge it, or take a smaller batch= or fewer workers=."
        )


@torch.inference_mode()
def forward(backbone: Backbone, pixels: torch.Tensor, sizes: Sizes) -> None:
    """The bare passes of the towers over so many images."""
    for i in range(0, sizes.images, sizes.batch):
        backbone.encode_image(pixels[: sizes.images - i])


def answer(folder: Path, sizes: Sizes, times: dict[str, float]) -> None:
    """The language model, once it is loaded and has seen some questions."""
    questions = questions_of(sizes.questions)
    write_model(folder, [SYSTEM_PROMPT, *questions], sizes.width, sizes.layers)
    model = chat(folder, 256, "bfloat16" if sizes.device == "cuda" else "float32")
    list(model.ask(questions[:2]))
    take(times, "questions", lambda: list(model.ask(questions)))


def decode(folder: Path, backbone: Backbone, sizes: Sizes) -> None:
    """Every picture, by as many processes as the pass takes, and no more of it."""
    loader = DataLoader(
        DecodedOnly(str(folder), backbone.image_transform()), batch_size=sizes.batch, num_workers=sizes.workers
    )
    for _ in loader:
        pass


@torch.inference_mode()
def score_pairs(parts: Parts, folder: Path, sizes: Sizes) -> int:
    """NegRefine's score of images whose nearest labels are no other image's. Returns how many texts that takes."""
    names, words = parts.id_dataset.class_names(), parts.corpus.words([])
    sets = [
        LabelSet(some.names, some.parts_of_speech, random_rows(len(some), parts, sizes, seed=seed), some.synsets)
        for seed, some in enumerate((names, words.take(range(min(PAIR_NEGATIVES, len(words))))))
    ]
    encoder = DirectTextEncoder(parts.backbone, parts.prompts, folder, parts.loading.text_batch_size)
    state = parts.score.init(TextBank(*sets, parts.backbone.logit_scale), encoder)
    for images in random_rows(sizes.pair_images, parts, sizes, seed=2).split(parts.loading.score_batch_size):
        _, state = parts.score.step(state, images)
    return encoder.num_encoded


def random_rows(count: int, parts: Parts, sizes: Sizes, seed: int) -> torch.Tensor:
    rows = torch.randn(count, parts.backbone.embedding_dim, generator=torch.Generator().manual_seed(seed))
    return normalize(rows, dim=1).to(sizes.device)


@torch.inference_mode()
def bare_rows(backbone: Backbone, pictures: Sequence[Path], device: str) -> torch.Tensor:
    images = [read_image(ImageFile(path), backbone.image_transform()) for path in pictures]
    return normalize(backbone.encode_image(torch.stack(images).to(device)), dim=1).cpu()


def image_times(
    folder: Path, own: Sequence[str], sizes: Sizes, kept: Kept
) -> tuple[dict[str, float], float, dict[str, float]]:
    """Of images: seconds on each road, how far the first rows of the store are from the bare ones, and the smallest
    cosine between a road's row and the first road's.
    """
    times: dict[str, float] = {}
    embedded: dict[str, Any] = {}
    parts = parts_of(WHOLE, sizes, own, folder / "images", kept)
    for dataset in parts.benchmark.values():  # the files' digests, so that no road pays for them
        parts.store.file_marks(dataset.images().sources.files()[0])
    for name, options in ROADS.items():
        parts = parts_of(WHOLE, sizes, own, folder / "images", kept, options)
        encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
        take(times, name, lambda: embedded.update({name: encoder.embed(parts.benchmark, [])[0]}))  # noqa: B023
    rows = {name: sets["image_folder"].embeddings for name, sets in embedded.items()}
    backbone = parts.backbone.to(sizes.device)
    first = sorted((folder / "outside" / "ood").iterdir())[:8]
    difference = float((bare_rows(backbone, first, sizes.device) - rows["images"][: len(first)]).abs().max())
    cosines = {name: float((rows["images"] * others).sum(dim=1).min()) for name, others in rows.items()}
    pixels = torch.zeros(sizes.batch, 3, *input_size(backbone), device=sizes.device)
    forward(backbone, pixels, replace(sizes, images=sizes.batch))  # what is set up once does not count
    road = replace(sizes, images=sizes.road_images)
    take(times, "forward", lambda: forward(backbone, pixels, road))
    take(times, "decoding", lambda: [decode(folder / name, backbone, sizes) for name in ("id", "outside")])
    if sizes.compile:
        compiled = parts_of(WHOLE, sizes, own, folder / "images", kept, ["backbone.compile=true"]).backbone
        compiled = compiled.to(sizes.device)
        full = replace(road, images=-(-road.images // sizes.batch) * sizes.batch)  # a pass fills its last batch up
        take(times, "compiling", lambda: forward(compiled, pixels, replace(sizes, images=sizes.batch)))
        if "compiling" in times:
            take(times, "compiled forward", lambda: forward(compiled, pixels, full))
    return times, difference, cosines


def measure(**given: Any) -> Figure:
    """On random weights and JPEGs made here; see `Sizes`."""
    sizes = Sizes(**given)
    if sizes.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(NO_GPU)
    check_room(sizes)
    stages: dict[str, dict[str, float]] = {}
    pair_texts: list[int] = []
    kept, corpus = Kept(), list[str]()
    with TemporaryDirectory() as place:
        folder, names = Path(place), nouns()
        if sizes.words:
            (folder / "words.txt").write_text("\n".join(names[sizes.classes :][: sizes.words]))
            corpus = ["corpus=file", f"corpus.path={folder}/words.txt"]
        write_jpegs(folder / "pictures", min(DISTINCT, sizes.images))
        pictures = sorted((folder / "pictures").iterdir())
        few, many = (
            [*write_sets(folder / name, pictures, names[: sizes.classes], count), *corpus]
            for name, count in (("few", sizes.road_images), ("many", sizes.images))
        )
        parts = parts_of(WHOLE, sizes, few, folder / "texts", kept)
        encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
        encoder.encode(["what is set up once does not count"], ["noun"])
        started, words = encoder.num_encoded, parts.corpus.words([])
        take(texts := {}, "text bank", lambda: encoder.embed({}, [words]))
        times, difference, cosines = image_times(folder / "few", few, sizes, kept)
        times |= texts
        for i, (name, options) in enumerate(WHOLE_ROADS.items()):
            work = partial(parts_of, WHOLE, sizes, many, folder / f"store{i}", kept, options)
            take(times, name, lambda: stages.update({name: evaluate(work()).times}))  # noqa: B023
        for method in METHODS:
            work = partial(parts_of, method, sizes, few, folder / "few" / "images", kept)
            take(times, method, lambda: stages.update({method: evaluate(work()).times}))  # noqa: B023
        parts.backbone.to(sizes.device)
        take(times, "texts of pairs", lambda: pair_texts.append(score_pairs(parts, folder / "pairs", sizes)))
        answer(folder / "language model", sizes, times)
    details = {"seconds": times, "stages": stages, "smallest cosine": cosines, "sizes": asdict(sizes)}
    counts = {
        "text bank": encoder.num_encoded - started,
        "questions": sizes.questions,
        "texts of pairs": sum(pair_texts),
    }
    return figure(sizes, times, stages, counts, difference, details)


def input_size(backbone: Backbone) -> tuple[int, int]:
    height, width = backbone.image_transform()(Image.new("RGB", (WIDTH, HEIGHT))).shape[1:]
    return height, width


def figure(
    sizes: Sizes,
    times: dict[str, float],
    stages: dict[str, dict[str, float]],
    counts: dict[str, int],
    difference: float,
    details: dict[str, Any],
) -> Figure:
    """Rates, and the roads beside their bare limits."""
    aim = AIM_SECONDS if sizes == Sizes(model=sizes.model, precision=sizes.precision) else None
    counts = dict.fromkeys([*ROADS, "forward", "compiled forward", "decoding"], sizes.road_images) | counts
    rates = {name: count / times[name] for name, count in counts.items() if name in times}
    rates |= {
        f"images scored by {name}": sizes.road_images / stages[name]["score"] for name in METHODS if name in stages
    }
    slower = max(times["forward"], times["decoding"])
    return Figure(
        what=f"{sizes.images:,} JPEGs, {sizes.classes:,} classes, {sizes.model}, {sizes.precision}",
        plain="forward pass alone, and decoding alone",
        ratios=(
            Ratio("images into the store / slower of decoding and forward pass", times["images"] / slower),
            *(Ratio(f"{name}, seconds", times[name], aim, True) for name in WHOLE_ROADS if name in times),
            *(Ratio(f"{name}, per second", rate) for name, rate in rates.items()),
        ),
        difference=difference,
        tolerance=1e-5 if sizes.precision == "fp32" else 2e-2,
        details=details,
    )


if __name__ == "__main__":
    report("gpu", lambda: measure(**vars(Sizes.typed(sys.argv[1:]))))
