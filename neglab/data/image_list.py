"""Images named by a list of paths and labels, such as OpenOOD's imglist files."""

import re
from collections.abc import Sequence

from neglab.columns import Texts
from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.listed import listed_files, on_disk
from neglab.data.names import Names, as_words, check_counted_from_0, each_line, given_names
from neglab.places import Place, place_of
from neglab.types import UserError, Words

LABEL = re.compile(r"-?[0-9]{1,18}")


class ImageListFile(ImageDataset):
    """A text file with "relative/path label" in each line.

    Args:
        root: the folder that the paths start from, on the disk or at an address such as s3://bucket/photos. A line
            may be an address itself where it leads below the root, and nowhere else.
        list_path: the text file, at either too. The last word of a line, behind a space or a tab, is the class index,
            so a path may hold spaces; without `labelled` it may be left out.
        labelled: True: the labels are those of the ID classes. False: images of no class, whatever their labels say.
        class_names: with `labelled`, the names in the order of their index, given or in a file (see `given_names`).
        about: what is known of a published set.

    Raises:
        UserError: on first use, for a missing file, a line without a label, a label without a name, or a root below
            which none of the paths exists.

    Source: OpenOOD 1.5, openood/datasets/imglist_dataset.py.
    Differs: OpenOOD splits at the first space, which cuts a path that holds one; its lines with a dictionary of labels
        are not read.
    """

    def __init__(self, root: str, list_path: str, labelled: bool, class_names: Names, about: About | None) -> None:
        self.root, self.list_path = place_of(root), place_of(list_path)
        self.place, self.about = f"{self.list_path} in {self.root}", about
        self.labelled, self._names = labelled, class_names

    def class_names(self) -> Words:
        names = given_names(self._names)
        if names is None:
            raise UserError(
                "A list of images has no class names; got id_dataset.class_names=null. Set it to their file."
            )
        return as_words(names)

    def extent(self) -> Sequence[Place]:
        return [self.list_path]

    def images(self) -> ImageList:
        if not self.list_path.is_file():
            raise self.missing("The list of images must exist")
        names, labels, known = Texts(), list[int | None](), dict[int | None, int | None]()
        for line in each_line(self.list_path):
            name, label = _path_and_label(line)
            names.append(name)
            labels.append(known.setdefault(label, label))  # one number of each
        own = self._class_labels(names, labels) if self.labelled else [-1] * len(names)
        return listed_files(self, ((on_disk(self.root, name), label) for name, label in zip(names, own, strict=True)))

    def _class_labels(self, names: Texts, labels: Sequence[int | None]) -> list[int]:
        num_classes = len(self.class_names())
        check_counted_from_0((label for label in labels if label is not None), num_classes, str(self.list_path))
        for path, label in zip(names, labels, strict=True):
            if label is None or not 0 <= label < num_classes:
                raise UserError(
                    f"Each line of {self.list_path} must end with a label from 0 to {num_classes - 1}, one per class "
                    f"name; got {label} for {path}. Mend the list, or id_dataset.class_names."
                )
        return [label for label in labels if label is not None]


def _path_and_label(line: str) -> tuple[str, int | None]:
    path, label = [*line.rsplit(maxsplit=1), ""][:2]  # at a space or a tab
    return (path, int(label)) if LABEL.fullmatch(label) else (line, None)
