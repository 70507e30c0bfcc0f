"""Sets that are one archive on the web."""

from collections.abc import Sequence
from pathlib import Path

from torchvision.datasets.utils import download_and_extract_archive

from neglab.data.base import About, ImageDataset, ImageList
from neglab.data.image_folder import images_by_folder
from neglab.types import UserError, Words


class ArchiveFolder(ImageDataset):
    """Images of no class below a folder that an archive unpacks to (an OOD dataset).

    Args:
        root: the folder; the archive is extracted beside it.
        archive: the archive's address.
        md5: the archive's digest.
        download: fetch and extract the archive where the folder is missing.
        about: what is known of the published set.

    Raises:
        UserError: on first use, the folder is missing or empty, or cannot be fetched.
    """

    def __init__(self, root: str, archive: str, md5: str, download: bool, about: About | None) -> None:
        self.root, self.archive, self.md5 = Path(root).expanduser(), archive, md5
        self.place, self.about = str(self.root), about
        self.download = download

    def class_names(self) -> Words:
        raise UserError("This set is an OOD set without classes. Choose another with id_dataset=.")

    def extent(self) -> Sequence[Path]:
        return [self.root]

    def images(self) -> ImageList:
        if self.download:
            fetch(self.root, self.archive, self.md5)
        if not self.root.is_dir():
            raise self.missing("The image folder must exist")
        paths, _ = images_by_folder([self.root])
        return self.counted(ImageList.of_files(paths, [-1] * len(paths)))


def fetch(root: Path, archive: str, md5: str) -> None:
    """Fetch an archive and extract it beside `root`, unless `root` exists.

    Raises:
        UserError: it cannot be fetched, or is damaged.
    """
    if root.is_dir():
        return
    try:
        download_and_extract_archive(archive, str(root.parent), md5=md5)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{archive} must be reachable and whole; got: {error}. Try again, or fetch it by hand."
        ) from error
