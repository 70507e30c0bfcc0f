"""What flows through neglab: names, label sets, text banks, image embeddings, streams and scores.

Shape letters, here and everywhere: C ID classes, W corpus words, M negatives, B batch, N items, D embedding
width, L tokens, E token width. Embeddings have unit norm and are float32. A higher ID score is more in-distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neglab.errors import UserError as UserError

PartOfSpeech = Literal["noun", "adjective"]
SAME_IMAGE = 1 - 1e-5  # cosine of two embeddings of one image, for rounding
ROWS = 4096  # images compared at once with others


@dataclass(frozen=True)
class Words:
    """Names without embeddings, in a fixed order: what a corpus or an ID dataset provides.

    Attributes:
        names: as a person writes them, without a prompt.
        parts_of_speech: picks the prompt template of each name. ID class names are nouns.
        synsets: WordNet 3.1 ids ("02084071-n") where known.
    """

    names: tuple[str, ...]
    parts_of_speech: tuple[PartOfSpeech, ...]
    synsets: tuple[str | None, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.names), len(self.parts_of_speech), len(self.synsets)}
        if len(lengths) != 1:
            raise ValueError(f"names, parts_of_speech and synsets must have one length; got {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def nouns(cls, names: Sequence[str], synsets: Sequence[str | None] | None = None) -> "Words":
        """Names that are all nouns, such as ID class names. None: no synset is known."""
        return cls(tuple(names), ("noun",) * len(names), (None,) * len(names) if synsets is None else tuple(synsets))

    def take(self, positions: Sequence[int]) -> "Words":
        """The names at these positions, in the order of the positions."""
        columns = (self.names, self.parts_of_speech, self.synsets)
        return Words(*(tuple(column[i] for i in positions) for column in columns))  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class LabelSet:
    """Names with their text embeddings. The ID classes, the corpus and the negatives are all label sets.

    Attributes:
        names: as a person writes them, without a prompt.
        parts_of_speech: "noun" or "adjective", one per name.
        embeddings: [N, D], unit norm, float32.
        synsets: WordNet 3.1 ids where known.
        lengths: [N], of the embeddings before they got unit norm; None where nobody asks for them.
    """

    names: tuple[str, ...]
    parts_of_speech: tuple[PartOfSpeech, ...]
    embeddings: Float[Tensor, "N D"]
    synsets: tuple[str | None, ...]
    lengths: Float[Tensor, " N"] | None = None

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.parts_of_speech) == len(self.synsets) == len(self.embeddings):
            raise ValueError("names, parts_of_speech, embeddings and synsets must have one length")
        if self.lengths is not None and len(self.lengths) != len(self.names):
            raise ValueError("there must be as many lengths as names")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def words(self) -> Words:
        return Words(self.names, self.parts_of_speech, self.synsets)

    def take(self, positions: Int[Tensor, " K"]) -> "LabelSet":
        """The labels at these positions, in the order of the positions."""
        kept = positions.tolist()
        return LabelSet(
            tuple(self.names[i] for i in kept),
            tuple(self.parts_of_speech[i] for i in kept),
            self.embeddings[positions.to(self.embeddings.device)],
            tuple(self.synsets[i] for i in kept),
            None if self.lengths is None else self.lengths[positions.to(self.lengths.device)],
        )


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Image embeddings with the index of their class, -1 where an image belongs to no ID class.

    Attributes:
        embeddings: [N, D], unit norm, float32.
        labels: [N], int64.
        paths: where each image came from, for tables and pictures; may be empty.
        positions: [N], of each image among all of its set, of which some may be left out; None: not known.
    """

    embeddings: Float[Tensor, "N D"]
    labels: Int[Tensor, " N"]
    paths: Sequence[str] = ()
    positions: Int[Tensor, " N"] | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def hold(self, embeddings: Float[Tensor, "K D"]) -> Bool[Tensor, " K"]:
        """Whether each of other images is one of these, by its embedding."""
        parts = embeddings.split(ROWS)
        return torch.cat([(part @ self.embeddings.T).amax(dim=1) > SAME_IMAGE for part in parts])


@dataclass(frozen=True)
class TextBank:
    """What a score sees of the text side.

    Attributes:
        id_labels: the C ID classes.
        negatives: the M negative labels. Learned negatives have K x C rows; row k*C + c belongs to class c.
        logit_scale: 1 / temperature of the backbone, 100 for CLIP.
        id_images: few ID images, for the methods that use them; their prototypes are the class means.
    """

    id_labels: LabelSet
    negatives: LabelSet
    logit_scale: float
    id_images: LabelledEmbeddings | None = None

    def to(self, device: torch.device) -> "TextBank":
        """With all its tensors on a device."""
        id_labels, negatives = (
            replace(labels, embeddings=labels.embeddings.to(device)) for labels in (self.id_labels, self.negatives)
        )
        images = self.id_images
        if images is not None:
            images = replace(images, embeddings=images.embeddings.to(device), labels=images.labels.to(device))
        return TextBank(id_labels, negatives, self.logit_scale, images)


@dataclass(frozen=True)
class Outline:
    """What is known of a text bank before anything is embedded.

    Attributes:
        id_names: the ID classes.
        num_negatives: at most so many.
        num_id_images: at most so many.
    """

    id_names: tuple[str, ...]
    num_negatives: int
    num_id_images: int

    @classmethod
    def of(cls, bank: TextBank) -> "Outline":
        """That of a whole bank."""
        num_id_images = 0 if bank.id_images is None else len(bank.id_images)
        return cls(bank.id_labels.names, len(bank.negatives), num_id_images)


@dataclass(frozen=True)
class Stream:
    """The order in which an order-dependent score meets the test images of one OOD set.

    Attributes:
        order: positions into ID images followed by OOD images.
        batch_size: images per step.
        seed: what drew the order.
    """

    order: Int[Tensor, " N"]
    batch_size: int
    seed: int


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one dataset's images.

    Attributes:
        dataset: its name in the results.
        scores: [N], float32 or float64; higher is more ID.
        labels: [N], class index or -1.
        predicted: [N], the ID class by the method's own rule, or else that of the most similar text.
        paths: one per image; may be empty.
    """

    dataset: str
    scores: Float[Tensor, " N"]
    labels: Int[Tensor, " N"]
    predicted: Int[Tensor, " N"]
    paths: Sequence[str] = ()


@dataclass(frozen=True)
class ScoredPair:
    """An OOD set's scores beside those of the ID images that they compete with.

    A score that judges each image by itself gives every OOD set the same ID scores; one that learns from the stream
    scores the ID images anew within each OOD set's stream.
    """

    id_images: ScoreTable
    ood_images: ScoreTable


@dataclass(frozen=True)
class FilterResult:
    """What a label filter decided.

    Attributes:
        positions: [K] positions of the kept negatives, in the order in which they go on.
        names: the K names, changed where the filter cleaned them (a changed name is encoded again).
        verdicts: one row per judged label, for filter_verdicts.csv.
    """

    positions: Int[Tensor, " K"]
    names: tuple[str, ...]
    verdicts: tuple[dict[str, str], ...] = field(default=())


@runtime_checkable
class TextEncoder(Protocol):
    """The run's prompts, the store and the devices behind one door."""

    def encode(self, names: Sequence[str], parts_of_speech: Sequence[PartOfSpeech]) -> Float[Tensor, "N D"]:
        """Embeddings of the names, prompted with the run's templates."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embeddings of the texts as given."""
        ...

    def tokenize(self, texts: Sequence[str]) -> tuple[Int[Tensor, "N L"], Int[Tensor, " N"]]:
        """Token ids, cut at the longest text, and the position of each end token."""
        ...

    def embed_tokens(self, ids: Int[Tensor, "N L"]) -> Float[Tensor, "N L E"]:
        """The token embedding table's rows, differentiable."""
        ...

    def encode_tokens(self, token_embeddings: Float[Tensor, "N L E"], end: Int[Tensor, " N"]) -> Float[Tensor, "N D"]:
        """Unit-norm embeddings of token embeddings, differentiable: the door for inversion."""
        ...

    def encode_continuations(
        self, beginnings: Float[Tensor, "S M P E"], endings: Float[Tensor, "N R E"], end: Int[Tensor, " N"]
    ) -> Float[Tensor, "S N D"]:
        """Unit-norm embeddings of every ending behind every beginning: the door for learned prompts.

        Args:
            beginnings: token embeddings, begin token included. M is 1 where all endings share them, or N.
            endings: token embeddings, filled up behind their end tokens.
            end: position of each end token in its whole text; on the CPU.
        """
        ...


def generator(seed: int) -> torch.Generator:
    """A CPU generator of its own, so that no random choice touches the global state."""
    return torch.Generator("cpu").manual_seed(seed)
