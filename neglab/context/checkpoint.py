"""What `neglab learn` leaves: prompts.safetensors with the tensors, prompts.json with what they belong to."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neglab.store import digest, write_atomically
from neglab.types import UserError

TENSORS, DESCRIPTION = "prompts.safetensors", "prompts.json"


@dataclass(frozen=True)
class PromptDescription:
    """What a checkpoint's tensors belong to.

    Attributes:
        learner: "coop", "cocoop" or "lsn".
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
    text = json.dumps(asdict(description), indent=1, ensure_ascii=False, sort_keys=True)
    write_atomically(folder / DESCRIPTION, f"{text}\n".encode())


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
        fields = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
        fields["class_names"] = tuple(fields["class_names"])
        description = PromptDescription(**fields)
        content = (place / TENSORS).read_bytes()
        tensors = load(content)
        num_classes = len(description.class_names)
        whole = (len(tensors["class_embeddings"]), len(tensors.get("negative_embeddings", ())))
        if whole != (num_classes, num_classes * description.num_sets):
            raise ValueError(f"{whole} rows for {num_classes} classes and {description.num_sets} negative sets")
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"The prompts in {place} are damaged ({error}). Run `neglab learn` again.") from error
    return PromptCheckpoint(description, tensors, digest([asdict(description), hashlib.sha256(content).hexdigest()]))
