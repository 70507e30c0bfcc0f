import fakes
import pytest
import torch

from neglab.data.base import ImageList
from neglab.embedding.gallery import Gallery
from neglab.types import LabelledEmbeddings


def test_a_picture_is_found_by_its_embedding(tmp_path):
    paths = fakes.write_pictures(tmp_path, 6)
    sets = {"id": ImageList.of_files(paths[:4], [0] * 4), "ood": ImageList.of_files(paths[4:], [-1] * 2)}
    rows = fakes.unit(6)
    labels = torch.zeros(3, dtype=torch.long)
    embedded = {
        # The second picture could not be read.
        "id": LabelledEmbeddings(rows[[0, 2, 3]], labels[:3], positions=torch.tensor([0, 2, 3])),
        "ood": LabelledEmbeddings(rows[4:], labels[:2], positions=torch.tensor([0, 1])),
    }
    gallery = Gallery(embedded, sets)
    found = gallery.pictures(rows[[5, 0, 3]])
    expected = [sets["ood"].sources[1], sets["id"].sources[0], sets["id"].sources[3]]
    assert [picture.tobytes() for picture in found] == [source.rgb().tobytes() for source in expected]
    for other in (rows[[0, 1]], -rows[:1]):
        with pytest.raises(KeyError, match="no image of the run"):
            gallery.pictures(other)
