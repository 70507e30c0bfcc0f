"""Sets of one run that share pictures, by content and by look."""

import logging
import shutil

import fakes
import pytest
import torch
from torch.nn.functional import normalize

from neglab.compose import build, compose
from neglab.data.shared import NUM_COMPARED, warn_of_near_copies
from neglab.embedding import file_digests
from neglab.pipeline import evaluate
from neglab.types import LabelledEmbeddings, UserError

FEW = ["method=knn", "score.num_neighbours=2", "id_images=image_folder"]


@pytest.fixture
def run(overrides):
    return lambda *more: evaluate(build(compose([*overrides, "method=mcm", *more])))


@pytest.fixture
def copied(benchmark, tmp_path):
    """Two pictures of the ID folder under other names, with three others."""
    fakes.write_pictures(tmp_path / "ood", 3, seed=20)
    for i, name in enumerate(("cat", "dog")):
        shutil.copy(benchmark / "id" / name / "picture01.png", tmp_path / "ood" / f"copy{i}.png")
    return tmp_path / "ood"


def test_ood_images_from_the_id_folder_stop_the_run(run, copied, caplog):
    place = f"ood_datasets.image_folder.root={copied}"
    found = rf"2 of 5 images of image_folder are in id too, such as {copied}/copy0.png, {copied}/copy1.png\. Take"
    with pytest.raises(UserError, match=found):
        run(place)
    with caplog.at_level(logging.WARNING):
        assert len(run(place, "data.allow_shared=true").pairs[0].ood_images.scores) == 5
    assert "Sets of one run must share no image; 2 of 5 images of image_folder" in caplog.text


def test_id_images_that_are_the_id_test_images_stop_the_run(run, benchmark):
    with pytest.raises(
        UserError, match=r"12 of 12 images of id images are in id too, such as (\S+picture\d\d.png[,.] ){3}"
    ):
        run(*FEW, f"id_images.dataset.root={benchmark}/id")


def test_id_images_among_the_ood_images_stop_the_run(run, benchmark, tmp_path):
    for i, name in enumerate(("cat", "dog", "tree_frog")):
        fakes.write_pictures(tmp_path / "few" / name, 2, seed=30 + i)
    few = [*FEW, f"id_images.dataset.root={tmp_path}/few"]
    run(*few)
    shutil.copytree(benchmark / "near", tmp_path / "near")
    shutil.copy(tmp_path / "few" / "dog" / "picture00.png", tmp_path / "near" / "stray.png")
    with pytest.raises(
        UserError, match=r"; 1 of 6 images of image_folder are in id images too, such as \S+stray.png\."
    ):
        run(*few, f"ood_datasets.image_folder.root={tmp_path}/near")


def test_ood_sets_may_share_images(run, benchmark):
    settings = f"_target_: neglab.data.image_folder.ImageFolder, root: {benchmark}/near, labelled: false"
    run(f"+ood_datasets.again={{{settings}, class_names: null, folders: null, about: null}}")


def test_no_file_is_read_a_second_time_for_it(run, benchmark, monkeypatch):
    read = []
    digest = file_digests.file_digest
    monkeypatch.setattr(file_digests, "file_digest", lambda path: (read.append(path), digest(path))[1])
    run()
    assert sorted(read) == sorted(set(read)) and len(read) == 12 + 5


def embedded(rows, name):
    return LabelledEmbeddings(rows, torch.full((len(rows),), -1), tuple(f"{name}{i}" for i in range(len(rows))))


def test_near_copies_are_said(caplog):
    id_images, ood = fakes.unit(60, 64, seed=1), fakes.unit(30, 64, seed=2)
    ood[[4, 7, 9, 11]] = normalize(id_images[[3, 5, 0, 59]] + 0.001 * fakes.unit(4, 64, seed=3), dim=1)
    sets = {"id": embedded(id_images, "i"), "far": embedded(ood, "f"), "none": embedded(ood[:0], "n")}
    with caplog.at_level(logging.WARNING):
        warn_of_near_copies(sets, [("id", "far"), ("id", "none")])
    (record,) = caplog.records
    assert (
        "4 images of far, of 30 that were compared, look like copies of images of id, such as f4, f7, f9"
        in record.message
    )
    caplog.clear()
    id_images[20:30] = id_images[30:40].clone()  # a model that tells little apart
    warn_of_near_copies(sets, [("id", "far")])
    warn_of_near_copies({**sets, "far": embedded(fakes.unit(30, 64, seed=2), "f")}, [("id", "far")])
    assert not caplog.records


def test_of_large_sets_some_images_are_compared(caplog):
    rows = fakes.unit(3 * NUM_COMPARED, 8, seed=1)
    with caplog.at_level(logging.WARNING):
        warn_of_near_copies({"id": embedded(rows, "i"), "far": embedded(rows, "f")}, [("id", "far")])
    assert f"{NUM_COMPARED} images of far, of {NUM_COMPARED} that were compared" in caplog.text
