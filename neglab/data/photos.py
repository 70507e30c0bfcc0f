"""Photos of one's own: files of no class, turned as people see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from neglab.data.base import ImageDataset, ImageList
from neglab.data.image_folder import images_below
from neglab.data.listed import seen_files
from neglab.places import Place, packed, place_of
from neglab.types import UserError, Words

PHOTOS = "images"  # what a person calls them, and their name among the embedded sets


@dataclass(frozen=True)
class Photos(ImageDataset):
    """Image files of no class."""

    paths: Sequence[Place]
    turned: bool = True  # as their EXIF orientation says

    @classmethod
    def below(cls, place: str, key: str, turned: bool = True) -> "Photos":
        """All images below a folder, or one image.

        Args:
            place: folder or file, or its address, such as s3://bucket/photos.
            key: what the user calls it, for messages.
            turned: as their EXIF orientation says.

        Raises:
            UserError: there is none.
        """
        path = place_of(str(place))
        if not path.exists():
            raise UserError(f"{key} must be a folder of images, or one image; there is no {path}.")
        paths = images_below(path) if path.is_dir() else seen_files(packed([path]))
        if not paths:
            raise UserError(f"{key} must hold at least one image, at any depth; got none below {path}.")
        return cls(paths, turned)

    def class_names(self) -> Words:
        return Words.nouns(())

    def images(self) -> ImageList:
        images = ImageList.of_files(self.paths, [-1] * len(self.paths))
        return images.upright() if self.turned else images
