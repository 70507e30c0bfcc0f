"""Some classes of a labelled set as ID dataset, and the others as OOD set."""

from collections.abc import Sequence

from neglab.data.base import About, ImageDataset, ImageList
from neglab.ranges import CountOrZero
from neglab.types import UserError, Words


class ClassSplit(ImageDataset):
    """The classes of one of several splits of a labelled set, or all the others.

    Args:
        dataset: the labelled images.
        splits: for each split, the indices of its classes among those of `dataset`.
        split: which of them, from 0.
        rest: True: all classes but those of the split.
        labelled: True: an ID dataset, whose class i is the i-th of the split. False: an OOD dataset.
        about: what is known of the published set.

    Raises:
        UserError: there is no such split, or, on first use, no such class.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        splits: Sequence[Sequence[int]],
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
        self.dataset, self.chosen = dataset, tuple(splits[split])
        self.rest, self.labelled, self.about = rest, labelled, about
        self.place = dataset.place

    def class_names(self) -> Words:
        names = self.dataset.class_names().names
        return Words.nouns([names[i] for i in self._classes(len(names))])

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
        return [i for i in range(num_classes) if i not in self.chosen] if self.rest else list(self.chosen)
