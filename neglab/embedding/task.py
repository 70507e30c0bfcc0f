"""An encoding pass as plain data, for the processes that help the first one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Bool
from msgspec import Meta, Struct
from msgspec.json import encode
from torch import Tensor

from neglab.backbone.base import Backbone
from neglab.columns import Numbers, PathTexts, Texts
from neglab.data.base import ImageList
from neglab.data.sources import ImageFile, ImageSource, MadeSources, Photo
from neglab.data.view import RandomCrop
from neglab.data.webdataset import TarImage
from neglab.embedding.module import EmbeddingBatches, EmbeddingJob, ImageJob, PartFolders, TextJob
from neglab.embedding.store import Store
from neglab.files import DamagedError, decode
from neglab.text_rows import KeyedTexts
from neglab.types import UserError

Key = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class FileRecord(Struct, array_like=True):
    """A picture that is a file, or a piece of a tar file."""

    path: str
    start: Count = 0
    size: Annotated[int, Meta(ge=-1, le=2**63 - 1)] = -1  # -1: the whole file
    name: str = ""
    upright: bool = False


class ImagesRecord(Struct, tag="images"):
    """The images of a set; the seed is that of their views. They may be decoded and resized on the device."""

    files: list[FileRecord]
    seed: int | None
    keeps_size: bool = False
    keeps_files: bool = False


class TextsRecord(Struct, tag="texts"):
    """Distinct texts, with the tokens of each."""

    texts: list[str]
    num_tokens: list[Count]


class JobRecord(Struct):
    """A job of the pass: its entry in the store, what it embeds, and which items are done."""

    key: Key
    content: ImagesRecord | TextsRecord
    batch_size: Annotated[int, Meta(ge=1)]
    finished: list[Count]


class EncodingTask(Struct):
    """What a helper needs beside its own config.

    Attributes:
        fingerprint: of the backbone.
        num_threads: of the first process: another number would move the last bits.
        num_workers: processes that read and decode.
        jobs: of the pass.
    """

    fingerprint: str
    num_threads: Annotated[int, Meta(ge=1)]
    num_workers: Count
    jobs: list[JobRecord]

    def work(self, backbone: Backbone, store: Store) -> tuple[EmbeddingBatches, PartFolders]:
        """The batches of the whole pass, and where their rows go.

        Raises:
            UserError: it is a task for another backbone.
        """
        if backbone.fingerprint != self.fingerprint:
            raise UserError(
                "All processes must have one backbone; a helping one built another from its config, fingerprint "
                f"{backbone.fingerprint[:12]} and not {self.fingerprint[:12]}. Give all the same arguments and weights."
            )
        jobs, masks = [], []
        for record in self.jobs:
            jobs.append(_job(record, backbone))
            finished = torch.zeros(len(jobs[-1]), dtype=torch.bool)
            finished[record.finished] = True
            masks.append(finished)
        return EmbeddingBatches(jobs, masks), PartFolders.of((job, store.at(job.name).parts) for job in jobs)


def described(
    backbone: Backbone, num_workers: int, jobs: Sequence[EmbeddingJob], finished: Sequence[Bool[Tensor, " _"]]
) -> bytes | None:
    """The task as JSON; None if a picture lies in a library's table or in a store: the first process reads these."""
    records = []
    for job, done in zip(jobs, finished, strict=True):
        if (content := _content(job)) is None:
            return None
        records.append(JobRecord(job.name, content, job.batch_size, done.nonzero().flatten().tolist()))
    return encode(EncodingTask(backbone.fingerprint, torch.get_num_threads(), num_workers, records))


def read_task(content: bytes) -> EncodingTask:
    """The task that another process described.

    Raises:
        UserError: it is none.
    """
    try:
        return decode(content, EncodingTask)
    except DamagedError as error:
        raise UserError(
            f"Processes that help each other must be of one neglab; what the first one asks for is no task ({error})."
        ) from error


def _content(job: EmbeddingJob) -> ImagesRecord | TextsRecord | None:
    if isinstance(job, TextJob):
        return TextsRecord(list(job.texts.texts), job.num_tokens.tolist())
    if not isinstance(job, ImageJob):
        return None
    files = [_record(source) for source in job.images.sources]
    known = [record for record in files if record is not None]
    seed = None if job.images.view is None else job.images.view.seed
    return ImagesRecord(known, seed, job.keeps_size, job.keeps_files) if len(known) == len(files) else None


def _record(source: ImageSource) -> FileRecord | None:
    if isinstance(source, ImageFile) and isinstance(source.path, Path):
        return FileRecord(str(source.path.absolute()), upright=isinstance(source, Photo))
    if isinstance(source, TarImage) and isinstance(source.shard, Path):
        return FileRecord(str(source.shard.absolute()), source.start, source.size, source.name)
    return None  # in an object store too: whoever reaches the key-value store must not send helpers to addresses


def _source(path: str, name: str, start: int, size: int, upright: int) -> ImageSource:
    place = Path(path)
    if upright:
        return Photo(place)
    return ImageFile(place) if size < 0 else TarImage(place, start, size, name)


def _job(record: JobRecord, backbone: Backbone) -> EmbeddingJob:
    content = record.content
    if isinstance(content, TextsRecord):
        num_tokens = torch.tensor(content.num_tokens, dtype=torch.long)
        return TextJob(record.key, KeyedTexts(content.texts), num_tokens, backbone.tokenize, record.batch_size)
    files = content.files
    numbers = (Numbers(getattr(file, name) for file in files) for name in ("start", "size", "upright"))
    names = Texts(file.name for file in files)
    sources = MadeSources(_source, PathTexts.of(file.path for file in files), names, *numbers)
    view = None if content.seed is None else RandomCrop(content.seed)
    images = ImageList(sources, (-1,) * len(sources), view)
    transform = backbone.loading_transform(resize=not content.keeps_size)
    return ImageJob(record.key, images, transform, record.batch_size, content.keeps_files)
