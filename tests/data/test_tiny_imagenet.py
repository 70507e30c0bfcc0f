import layouts
import pytest

from neglab.data import archive
from neglab.data.tiny_imagenet import TinyImageNet
from neglab.types import UserError
from neglab.wordnet import synset_of_wnid


def tiny(root, split="val", labelled=True, download=False):
    return TinyImageNet(str(root / "tiny-imagenet-200"), split, labelled, download, None)


def test_classes_are_sorted_by_wordnet_id_and_have_their_first_name(tmp_path):
    layouts.tiny_imagenet(tmp_path, 3)
    words = tiny(tmp_path).class_names()
    assert words.names == ("name 0", "name 1", "name 2")
    assert words.synsets == tuple(map(synset_of_wnid, sorted(layouts.WNIDS[300:303]))) and None not in words.synsets


def test_validation_images_are_labelled_by_their_table(tmp_path):
    layouts.tiny_imagenet(tmp_path, 3)
    images = tiny(tmp_path).images()
    assert [source.path.name for source in images.sources] == ["val_0.JPEG", "val_1.JPEG", "val_2.JPEG"]
    assert images.labels == (0, 1, 2)
    assert tiny(tmp_path, labelled=False).images().labels == (-1, -1, -1)


def test_training_images_are_labelled_by_their_folder(tmp_path):
    layouts.tiny_imagenet(tmp_path, 3)
    images = tiny(tmp_path, "train").images()
    assert [source.path.name[:9] for source in images.sources] == list(layouts.WNIDS[300:303])
    assert images.labels == (0, 1, 2)


def test_a_missing_set_is_fetched_when_asked(tmp_path, monkeypatch):
    def fetch(url, folder, md5):
        assert url.endswith("tiny-imagenet-200.zip") and folder == str(tmp_path)
        layouts.tiny_imagenet(tmp_path, 3)

    monkeypatch.setattr(archive, "download_and_extract_archive", fetch)
    assert len(tiny(tmp_path, download=True).images()) == 3


def test_what_does_not_fit_is_a_users_mistake(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="train, val"):
        tiny(tmp_path, "test")
    with pytest.raises(UserError, match="must exist"):
        tiny(tmp_path).images()

    def fail(*arguments, **named):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(archive, "download_and_extract_archive", fail)
    with pytest.raises(UserError, match="reachable and whole"):
        tiny(tmp_path, download=True).images()


def test_a_damaged_table_is_a_users_mistake(tmp_path):
    layouts.tiny_imagenet(tmp_path, 3)
    layouts.put(tmp_path / "tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG\tn999\t0\t1\t2\t3\n")
    layouts.put(tmp_path / "tiny-imagenet-200/words.txt", "n00001740\tentity\n")
    with pytest.raises(UserError, match="must be whole; got KeyError: 'n999'"):
        tiny(tmp_path).images()
    with pytest.raises(UserError, match="must be whole"):
        tiny(tmp_path).class_names()
