"""Some classes of a labelled set as ID dataset, and the others as OOD set."""

from collections.abc import Sequence

from neglab.data.base import About, ImageDataset, ImageList
from neglab.ranges import CountOrZero
from neglab.types import UserError, Words


class ClassSplit(ImageDataset):
    """The classes of one of several splits of a labelled set, or all the others.

    Args:
        dataset: the labelled images.
        splits: for each split, the indices of its classes among those of `dataset`, or "0-99" from first to last.
        split: which of them, from 0.
        rest: True: all classes but those of the split.
        labelled: True: an ID dataset, whose class i is the i-th of the split. False: an OOD dataset.
        about: what is known of the published set.

    Raises:
        UserError: there is no such split, it is neither list nor range, or, on first use, there is no such class.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        splits: Sequence[Sequence[int] | str],
        split: CountOrZero,
        rest: bool,
        labelled: bool,
        about: About | None,
    ) -> None:
        if not 0 <= split < len(splits):
            raise UserError(
                f"split must be 0 to {len(splits) - 1}; got {split}. It follows the seed unless it is set, such as "
                "id_dataset.split=0."
            )
        self.dataset, self.chosen = dataset, _indices(splits[split])
        self.rest, self.labelled, self.about = rest, labelled, about
        self.place = dataset.place

    def class_names(self) -> Words:
        words = self.dataset.class_names()
        return words.take(self._classes(len(words)))

    def class_keys(self) -> Sequence[str]:
        keys = self.dataset.class_keys()
        return [keys[i] for i in self._classes(len(keys))] if keys else ()

    def images(self) -> ImageList:
        images = self.dataset.images()
        new_label = {old: new for new, old in enumerate(self._classes(len(self.dataset.class_names())))}
        kept = images.take([i for i, label in enumerate(images.labels) if label in new_label])
        labels = [new_label[label] if self.labelled else -1 for label in kept.labels]
        return self.counted(ImageList(kept.sources, tuple(labels), kept.view))

    def _classes(self, num_classes: int) -> list[int]:
        if wrong := [i for i in self.chosen if not 0 <= i < num_classes]:
            raise UserError(f"A split must hold indices of classes, 0 to {num_classes - 1}; got {wrong[0]}.")
        return sorted({*range(num_classes)}.difference(self.chosen)) if self.rest else list(self.chosen)


def _indices(split: Sequence[int] | str) -> tuple[int, ...]:
    if not isinstance(split, str):
        return tuple(split)
    first, dash, last = split.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal()):
        raise UserError(f"A split must be a list of indices, or a range such as 0-99; got {split!r}.")
    return tuple(range(int(first), int(last) + 1))
