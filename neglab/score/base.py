"""The contract of a score: how in-distribution each image is, given what the text side knows. Higher is more ID."""

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from neglab.types import Outline, TextBank, TextEncoder

State = TypeVar("State")
ROW_BLOCK = 16  # images are scored in whole blocks of so many rows


class Score(ABC, Generic[State]):
    """A score with explicit state: `init` once, then `step` per batch. Nothing is kept in attributes.

    Attributes:
        order_dependent: earlier batches change later scores, so a stream has to be replayed in order.
        needs_id_images: the bank must hold few-shot ID images.
        needs_encoder: texts are encoded while scoring.
    """

    order_dependent: ClassVar[bool] = False
    needs_id_images: ClassVar[bool] = False
    needs_encoder: ClassVar[bool] = True

    @property
    def neutral(self) -> float | None:
        """The score of an image that speaks as much for the ID classes as for the negatives; None: there is none."""
        return None

    def check(self, outline: Outline) -> None:
        """Raise a UserError where the score cannot work with such a bank; asked before anything is embedded."""

    @abstractmethod
    def init(self, bank: TextBank, encoder: TextEncoder) -> State:
        """Everything that does not depend on the test images, computed once."""

    @abstractmethod
    def step(self, state: State, images: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], State]:
        """The ID scores of a batch, higher for ID, and the state for the next one."""


class BankScore(Score[State]):
    """A pure function of the image and the text bank; the state is what the score prepares of the bank, once.

    A row's score does not depend on its batch: bit for bit on CPUs with MKL, within 1e-6 elsewhere.
    """

    needs_encoder: ClassVar[bool] = False

    def init(self, bank: TextBank, encoder: TextEncoder | None) -> State:
        return self.prepare(bank)

    def step(self, state: State, images: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], State]:
        # A matrix product sends a last, partial block of rows through another kernel, which rounds differently.
        blocks = pad(images, (0, 0, 0, -len(images) % ROW_BLOCK))
        return self.score(blocks, state)[: len(images)], state

    def __call__(self, images: Float[Tensor, "B D"], bank: TextBank) -> Float[Tensor, " B"]:
        """The ID scores of a batch, higher for ID."""
        return self.step(self.prepare(bank), images)[0]

    @abstractmethod
    def prepare(self, bank: TextBank) -> State:
        """What `score` needs of the bank."""

    @abstractmethod
    def score(self, images: Float[Tensor, "B D"], prepared: State) -> Float[Tensor, " B"]:
        """The ID scores of whole blocks of rows, higher for ID; rows of zeros may fill the last block."""
