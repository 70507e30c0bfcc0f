"""The contract of a stream: in which order a score that learns while it tests meets the images."""

from abc import ABC, abstractmethod

from neglab.types import Stream


class StreamPlan(ABC):
    """Draws one stream per OOD set: the ID images and that set's images, mixed.

    Args:
        batch_size: images per step; the last step may have fewer.
        seed: of the order.
        reset: True: the score forgets everything before the next OOD set, as all official codes do. False: what it
            has learned is carried on, in the order of the OOD sets.
    """

    def __init__(self, batch_size: int, seed: int, reset: bool) -> None:
        self.batch_size, self.seed, self.reset = batch_size, seed, reset

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raise a UserError where no stream can be drawn; asked before anything is embedded."""

    @abstractmethod
    def draw(self, num_id: int, num_ood: int) -> Stream:
        """The stream of one OOD set. Positions below `num_id` are ID images, the others OOD images.

        Raises:
            UserError: the order does not fit these numbers.
        """

    @abstractmethod
    def describe(self) -> str:
        """The order in a few words without its seed, written beside every result."""
