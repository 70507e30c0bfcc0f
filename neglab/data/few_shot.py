"""Few images of each ID class, for the methods that learn the classes from images."""

from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace

import torch

from neglab.columns import texts_at
from neglab.data.base import ImageDataset, ImageList
from neglab.data.view import RandomCrop
from neglab.ranges import Count, Seed
from neglab.types import LabelledEmbeddings, UserError, Words, generator

VIEWS = ("plain", "random_crop")


class FewShot(ImageDataset):
    """At most so many images per class of another set, drawn at random without replacement.

    Args:
        dataset: the labelled images to draw from; they must not be the test images.
        num_per_class: N, images per class; a class with fewer gives all it has.
        seed: of the draw, and of the views.
        view: "plain": the images as they are; "random_crop": a random part of each, as in InterNeg's official code.

    Raises:
        UserError: the view is unknown.
    """

    def __init__(self, dataset: ImageDataset, num_per_class: Count, seed: Seed, view: str) -> None:
        if view not in VIEWS:
            raise UserError(f"id_images.view must be one of {', '.join(VIEWS)}; got {view!r}.")
        self.dataset, self.num_per_class, self.seed, self.view = dataset, num_per_class, seed, view
        self.place, self._upright = dataset.place, False

    def class_names(self) -> Words:
        return self.dataset.class_names()

    def class_keys(self) -> Sequence[str]:
        return self.dataset.class_keys()

    def images(self) -> ImageList:
        images, draw = self.dataset.images(), generator(self.seed)
        labels = torch.tensor(images.labels)
        kept: list[int] = []
        counts = (labels + 1).bincount(minlength=len(self.class_names()) + 1).tolist()
        for members in labels.argsort(stable=True).split(counts)[1:]:  # the first are of no class
            kept += members[torch.randperm(len(members), generator=draw)[: self.num_per_class]].sort().values.tolist()
        view = RandomCrop(self.seed) if self.view == "random_crop" else None
        chosen = replace(images.take(kept), view=view)
        return chosen.upright() if self._upright else chosen

    def upright(self) -> "FewShot":
        """The same images, each turned as its EXIF orientation says."""
        turned = copy(self)
        turned._upright = True
        return turned


def check_classes(names: Iterable[str], id_names: Sequence[str]) -> None:
    """Raise a UserError where an ID class is not among those of which there are images.

    Args:
        names: classes of the few images.
        id_names: class names of the ID dataset.
    """
    known = set(names)
    if missing := [name for name in id_names if name not in known]:
        raise UserError(
            f"id_images must hold images of every ID class; got none of {len(missing)} classes, such as "
            f"{missing[0]!r}. For your own classes: id_images=image_folder id_images.dataset.root=..., with the same "
            "class names."
        )


def for_classes(images: LabelledEmbeddings, names: Sequence[str], id_names: Sequence[str]) -> LabelledEmbeddings:
    """The images of the ID classes, labelled by their position among `id_names`.

    Args:
        images: embeddings labelled by their position among `names`.
        names: class names of the few images; may hold more classes than the ID dataset.
        id_names: class names of the ID dataset.

    Raises:
        UserError: an ID class has no image.
    """
    if tuple(names) == tuple(id_names):
        return images
    place = {name: i for i, name in enumerate(id_names)}
    label_of = torch.tensor([place.get(name, -1) for name in names])
    labels = label_of[images.labels]
    known = set(labels.tolist())
    check_classes([name for i, name in enumerate(id_names) if place[name] in known], id_names)
    kept = (labels >= 0).nonzero().flatten()
    paths = texts_at(images.paths, kept.tolist()) if images.paths else ()
    positions = None if images.positions is None else images.positions[kept]
    return LabelledEmbeddings(images.embeddings[kept], labels[kept], paths, positions)
