"""The contract of a score: how in-distribution each image is, given what the text side knows. Higher is more ID."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

from neglab.types import TextBank, TextEncoder

State = TypeVar("State")


class Score(ABC, Generic[State]):
    """A score with explicit state: `init` once, then `step` per batch. Nothing is kept in attributes.

    Attributes:
        order_dependent: earlier batches change later scores, so a stream has to be replayed in order.
        needs_id_images: the bank must hold few-shot ID images.
    """

    order_dependent: ClassVar[bool] = False
    needs_id_images: ClassVar[bool] = False

    @abstractmethod
    def init(self, bank: TextBank, encoder: TextEncoder) -> State:
        """Everything that does not depend on the test images, computed once."""

    @abstractmethod
    def step(self, state: State, images: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], State]:
        """The ID scores of a batch, higher for ID, and the state for the next one."""


class BankScore(Score[Any]):
    """A pure function of the image and the text bank.

    A score that can prepare something of the bank once returns it from `prepare`; `__call__` then takes it in.
    """

    def init(self, bank: TextBank, encoder: TextEncoder) -> Any:
        return self.prepare(bank)

    def step(self, state: Any, images: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], Any]:
        return self.score(images, state), state

    def __call__(self, images: Float[Tensor, "B D"], bank: TextBank) -> Float[Tensor, " B"]:
        """The ID scores of a batch, higher for ID."""
        return self.score(images, self.prepare(bank))

    @abstractmethod
    def prepare(self, bank: TextBank) -> Any:
        """What `score` needs of the bank."""

    @abstractmethod
    def score(self, images: Float[Tensor, "B D"], prepared: Any) -> Float[Tensor, " B"]:
        """The ID scores of a batch, higher for ID."""
