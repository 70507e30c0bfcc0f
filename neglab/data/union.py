"""Several labelled sets as one, with one list of classes: the full spectrum of in-distribution images."""

from collections.abc import Mapping, Sequence

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.sources import JoinedSources
from neglab.places import Place
from neglab.types import UserError, Words


class UnionOfSets(ImageDataset):
    """The images of several ID sets whose classes are those of the first, or some of them.

    Args:
        datasets: the sets by name, in their order. A class is known again by what it is called where the images lie,
            such as its WordNet id, and where a set has nothing of the kind, by its name.
        about: what is known of the published set.

    Raises:
        UserError: there is no set; on first use, a class of a set is none of the first's, or two cannot be told apart.

    Source: Yang et al., "Full-Spectrum Out-of-Distribution Detection", IJCV 2023: images of ID classes are ID whatever
        their style; OpenOOD 1.5's csid sets.
    """

    def __init__(self, datasets: Mapping[str, ImageDataset], about: About | None) -> None:
        if not datasets:
            raise UserError("A union must have a set; got none. Set id_dataset.datasets.")
        self.datasets, self.about = dict(datasets), about
        self.first = next(iter(datasets.values()))
        self.place = ", ".join(dataset.place for dataset in datasets.values())

    def class_names(self) -> Words:
        return self.first.class_names()

    def class_keys(self) -> Sequence[str]:
        return self.first.class_keys()

    def extent(self) -> Sequence[Place]:
        return [path for dataset in self.datasets.values() for path in dataset.extent()]

    def images(self) -> ImageList:
        parts = [(dataset.images(), self._places(name, dataset)) for name, dataset in self.datasets.items()]
        sources = JoinedSources([images.sources for images, _ in parts])
        labels = tuple(places[label] for images, places in parts for label in images.labels)
        return self.counted(ImageList(sources, labels))

    def _places(self, name: str, dataset: ImageDataset) -> list[int]:
        """The class of the union that each class of a set is."""
        own, first = _keys(dataset), _keys(self.first)
        if own == first:
            return list(range(len(first)))
        place_of = {key: place for place, key in enumerate(first)}
        if strange := [key for key in own if key not in place_of]:
            raise UserError(
                f"All sets of a union must have classes of the first; {len(strange)} of {len(own)} in {name} are none, "
                f"such as {strange[0]!r}. Leave that set out, or the class."
            )
        if len(place_of) < len(first) or len(set(own)) < len(own):
            raise UserError(
                f"Classes of a union's sets must be told apart by their names; those of {name} cannot, since some "
                "stand twice. Take sets whose classes lie in folders named by WordNet id."
            )
        return [place_of[key] for key in own]


def _keys(dataset: ImageDataset) -> list[str]:
    return list(dataset.class_keys() or dataset.class_names().names)
