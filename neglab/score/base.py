"""The contract of a score: how in-distribution each image is, given what the text side knows. Higher is more ID."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, pad

from neglab.ranges import Positive
from neglab.types import Outline, TextBank, TextEncoder

State = TypeVar("State")
ROW_BLOCK = 16  # images are scored in whole blocks of so many rows


class Judgement(NamedTuple):
    """What a score says of a batch of images.

    Attributes:
        scores: [B], the ID scores; higher is more ID.
        predicted: [B], the ID class of each image by the method's own rule; None: the class of the most similar text.
    """

    scores: Float[Tensor, " B"]
    predicted: Int[Tensor, " B"] | None = None


class Score(ABC, Generic[State]):
    """A score with explicit state: `init` once, then `step` per batch. Nothing is kept in attributes.

    A parameter `temperature` divides cosines; in a config it may be `backbone`, the model's own (`compose.settled`).

    Attributes:
        order_dependent: earlier batches change later scores, so a stream has to be replayed in order.
        needs_id_images: the bank must hold few-shot ID images.
        needs_encoder: texts are encoded while scoring.
        needs_pictures: the encoder's gallery must find the images' pictures.
    """

    order_dependent: ClassVar[bool] = False
    needs_id_images: bool = False  # for all settings or for some
    needs_encoder: ClassVar[bool] = True
    needs_pictures: ClassVar[bool] = False

    @property
    def neutral(self) -> float | None:
        """The score of an image that is as much ID as OOD; None: the score has no such value."""
        return None

    @property
    def share_temperature(self) -> float | None:
        """Of the softmax whose shares explain a decision: the score's own, or that of the NegLabel score in it.

        None: the score has none, and the backbone's own is taken.
        """
        return getattr(self, "temperature", None) or getattr(getattr(self, "neglabel", None), "temperature", None)

    def check(self, outline: Outline) -> None:
        """Raise a UserError where the score cannot work with such a bank; asked before anything is embedded."""

    @abstractmethod
    def init(self, bank: TextBank, encoder: TextEncoder) -> State:
        """Everything that does not depend on the test images, computed once."""

    @abstractmethod
    def step(self, state: State, images: Float[Tensor, "B D"]) -> tuple[Judgement, State]:
        """The ID scores of a batch, with the classes where the method predicts them its own way, and the next state."""

    def finish(self, state: State) -> None:
        """Called with the last state of every stream, for example to warn about what the stream was like."""
        return


class BankScore(Score[State]):
    """A pure function of the image and the text bank; the state is what the score prepares of the bank, once.

    A row's score does not depend on its batch: bit for bit on CPUs with MKL, within 1e-6 elsewhere and where the
    formula takes powers (`RenyiScore`), whose last bits in torch depend on the length of the vector.
    """

    needs_encoder: ClassVar[bool] = False

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> State:
        return self.prepare(bank)

    def step(self, state: State, images: Float[Tensor, "B D"]) -> tuple[Judgement, State]:
        return Judgement(self.score(_whole_blocks(images), state)[: len(images)]), state

    def __call__(self, images: Float[Tensor, "B D"], bank: TextBank) -> Float[Tensor, " B"]:
        """The ID scores of a batch, higher for ID."""
        return self.step(self.prepare(bank), images)[0].scores

    def score_at_once(self, images: Float[Tensor, "B D"], prepared: State) -> Float[Tensor, " B"]:
        """`score` of all rows at once, without chunks: what an exported graph with a free batch size can hold."""
        return self._score_chunk(images, prepared)

    def _score_chunk(self, images: Float[Tensor, "B D"], prepared: State, /) -> Float[Tensor, " B"]:
        """`score` of rows that fit into memory; a score that works in chunks has its formula here."""
        return self.score(images, prepared)

    @abstractmethod
    def prepare(self, bank: TextBank) -> State:
        """What `score` needs of the bank."""

    @abstractmethod
    def score(self, images: Float[Tensor, "B D"], prepared: State) -> Float[Tensor, " B"]:
        """The ID scores of whole blocks of rows, higher for ID; rows of zeros may fill the last block."""


def _whole_blocks(images: Float[Tensor, "B D"]) -> Float[Tensor, "R D"]:
    # A matrix product sends a last, partial block of rows through another kernel, which rounds differently.
    return pad(images, (0, 0, 0, -len(images) % ROW_BLOCK))


# `images @ weights.T` of rows [R, D] and weights [K, D]; the number is the place of the first row in the batch.
Product = Callable[[Tensor, Tensor, int], Tensor]


def matrix_product(images: Float[Tensor, "R D"], weights: Float[Tensor, "K D"], _: int) -> Float[Tensor, "R K"]:
    return images @ weights.T


class ProductScore(BankScore[State]):
    """A BankScore that sees images through their products with rows of weights alone: jobs of a sweep share these."""

    def step(
        self, state: State, images: Float[Tensor, "B D"], product: Product = matrix_product
    ) -> tuple[Judgement, State]:
        return Judgement(self.score(_whole_blocks(images), state, product)[: len(images)]), state

    @abstractmethod
    def score(
        self, images: Float[Tensor, "B D"], prepared: State, product: Product = matrix_product
    ) -> Float[Tensor, " B"]:
        """As a BankScore's; every look at the images is a product, which may be an earlier job's."""


class IDLogitScore(ProductScore[Tensor]):
    """A function of the ID logits alone: an image's cosines with the ID classes, over a temperature. No negatives.

    Args:
        temperature: T, divides the cosine similarities; 0.01 is CLIP's own.

    Shapes: images [B, D] and a bank of C ID labels give [B]; float64, since float32 ties where the softmax is nearly
        flat (T = 1) and where it is nearly certain.
    """

    def __init__(self, temperature: Positive) -> None:
        self.temperature = temperature

    def prepare(self, bank: TextBank) -> Float[Tensor, "C D"]:
        return bank.id_labels.embeddings

    def score(
        self, images: Float[Tensor, "B D"], prepared: Float[Tensor, "C D"], product: Product = matrix_product
    ) -> Float[Tensor, " B"]:
        return self.of_logits(product(images, prepared, 0).double() / self.temperature)

    @abstractmethod
    def of_logits(self, logits: Float[Tensor, "B C"]) -> Float[Tensor, " B"]:
        """The formula: the ID scores of logits, higher for ID."""


class LocalScore(BankScore[State]):
    """A score that looks at the patches of an image beside the whole.

    The patches of many images are too many to keep: ViT-B/16 has 196. So the encoding pass makes one number of each
    image's patches, by `local`. It is kept in the store and appended to the embedding: `score` and `step` get images
    [B, D + 1].
    """

    @property
    @abstractmethod
    def local_identity(self) -> Mapping[str, Any]:
        """Everything that `local` depends on besides bank and patches, as a JSON-like value."""

    @abstractmethod
    def local(self, patches: Float[Tensor, "B P D"], prepared: State) -> Float[Tensor, " B"]:
        """One number per image, from its unit-norm patches."""


def local_column(score: LocalScore[State], patches: Float[Tensor, "B P D"], prepared: State) -> Float[Tensor, "B 1"]:
    """The column that is appended to the embeddings of a LocalScore's images.

    Args:
        score: what looks at the patches.
        patches: as the backbone gives them, of any norm.
        prepared: of the bank.
    """
    return score.local(normalize(patches, dim=2), prepared).float()[:, None]
