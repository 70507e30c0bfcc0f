"""What `neglab learn` leaves: prompts.safetensors with the tensors, prompts.json with what they belong to."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neglab.files import DamagedError, Document, digest, read_bytes, read_json, write_atomically
from neglab.types import UserError

TENSORS, DESCRIPTION = "prompts.safetensors", "prompts.json"
FORMAT = 1


@dataclass(frozen=True)
class PromptDescription:
    """What a checkpoint's tensors belong to.

    Attributes:
        learner: its name, "coop", "cocoop", "locoop" or "lsn".
        class_names: C names in the order of the rows.
        backbone: its fingerprint; the tensors mean nothing to another.
        seed: of the learner's random choices.
        shots: images per class.
        knobs: the learner's settings.
        num_sets: K, negative prompts per class; 0 without negatives.
        class_name: the class name follows the positive context.
    """

    learner: str
    class_names: tuple[str, ...]
    backbone: str
    seed: int
    shots: int
    knobs: dict[str, Any]
    num_sets: int
    class_name: bool


@dataclass(frozen=True)
class PromptFile:
    """What prompts.json holds.

    Attributes:
        prompts: what the tensors belong to.
        tensors_sha256: checksum of the tensors' file.
    """

    prompts: PromptDescription
    tensors_sha256: str


@dataclass(frozen=True)
class PromptCheckpoint:
    """Learned prompts.

    Attributes:
        description: what they belong to.
        tensors: `class_embeddings` [C, D], of the positive prompts, unit norm; `context` [S, 1 or C, n, E], of which
            CoCoOp's is before the image's share; `meta_net.*`; `negative_context` [K, 1 or C, n, E];
            `negative_embeddings` [K C, D], unit norm, row k*C + c belongs to class c.
        digest: of both files' content.
    """

    description: PromptDescription
    tensors: dict[str, Tensor]
    digest: str

    @property
    def class_embeddings(self) -> Float[Tensor, "C D"]:
        return self.tensors["class_embeddings"]

    @property
    def negative_embeddings(self) -> Float[Tensor, "M D"]:
        return self.tensors.get("negative_embeddings", self.class_embeddings[:0])

    def check_backbone(self, fingerprint: str) -> None:
        """Raise a UserError where these prompts were learned on another backbone."""
        if fingerprint != self.description.backbone:
            raise UserError(
                "Prompts must be used with the backbone on which they were learned; got the fingerprint "
                f"{fingerprint[:12]}, and they were learned on {self.description.backbone[:12]} (weights, tokenizer, "
                "image transform and precision count). Choose that backbone, or run `neglab learn` on this one."
            )

    def class_positions(self, names: Sequence[str]) -> list[int]:
        """The row of each ID class.

        Raises:
            UserError: a class is unknown to the checkpoint.
        """
        known = self.description.class_names
        if tuple(names) == known:
            return list(range(len(known)))  # also where a name stands twice
        place = {name: i for i, name in reversed(list(enumerate(known)))}
        if unknown := [name for name in names if name not in place]:
            raise UserError(
                f"Learned prompts know the classes that they were learned for; {len(unknown)} of the ID set's "
                f"{len(names)} classes are not among the {len(known)}, the first is {unknown[0]!r}. Choose that ID "
                "set, or run `neglab learn` with this one."
            )
        return [place[name] for name in names]

    def negative_positions(self, names: Sequence[str]) -> list[int]:
        """The rows of the negative prompts of these ID classes: set by set, in each the classes in this order.

        Raises:
            UserError: the checkpoint holds no negative prompts, or a class is unknown to it.
        """
        if not self.description.num_sets:
            raise UserError(
                f"Negative prompts are needed; the checkpoint holds those of {self.description.learner}, which learns "
                "none. Run `neglab learn prompt_learner=lsn`."
            )
        classes, count = self.class_positions(names), len(self.description.class_names)
        return [k * count + c for k in range(self.description.num_sets) for c in classes]

    def negative_names(self) -> tuple[str, ...]:
        """A name for each row of `negative_embeddings`, such as "not 2: cat" for the second set's."""
        names = self.description.class_names
        return tuple(f"not {k}: {name}" for k in range(1, self.description.num_sets + 1) for name in names)


def write_checkpoint(folder: Path, description: PromptDescription, tensors: dict[str, Tensor]) -> None:
    """Write both files, each whole or not at all; equal prompts give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())})
    write_atomically(folder / TENSORS, content)
    document = Document.of(asdict(PromptFile(description, hashlib.sha256(content).hexdigest())), FORMAT)
    write_atomically(folder / DESCRIPTION, document.as_json())


def read_checkpoint(folder: str | Path) -> PromptCheckpoint:
    """The prompts in a folder that `neglab learn` wrote.

    Raises:
        UserError: there are none, or they are damaged.
    """
    place = Path(folder).expanduser()
    if not all((place / name).is_file() for name in (TENSORS, DESCRIPTION)):
        raise UserError(
            f"prompt.checkpoint must be a folder with {TENSORS} and {DESCRIPTION}, as `neglab learn` leaves them; got "
            f"{place}."
        )
    try:
        return _checkpoint(read_json(place / DESCRIPTION, Document), read_bytes(place / TENSORS))
    except (DamagedError, OSError) as error:
        raise UserError(f"The prompts in {place} are damaged ({error}). Run `neglab learn` again.") from error


def _checkpoint(document: Document, content: bytes) -> PromptCheckpoint:
    """Both files, held against each other."""
    found = document.opened(PromptFile, FORMAT)
    checksum = hashlib.sha256(content).hexdigest()
    if found.tensors_sha256 != checksum:
        raise DamagedError(f"{TENSORS} does not match its checksum")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise DamagedError(str(error)) from error
    if strange := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise DamagedError(f"{strange[0]} is not finite")
    num_classes, num_sets = len(found.prompts.class_names), found.prompts.num_sets
    positive = tensors.get("class_embeddings", torch.empty(0))
    negative = tensors.get("negative_embeddings", positive[:0])
    if positive.ndim != 2 or (len(positive), len(negative)) != (num_classes, num_classes * num_sets):
        shapes = f"{list(positive.shape)} and {list(negative.shape)}"
        raise DamagedError(f"rows {shapes} for {num_classes} classes and {num_sets} negative sets")
    return PromptCheckpoint(found.prompts, tensors, digest([asdict(found.prompts), checksum]))
