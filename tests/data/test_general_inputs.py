"""The same pictures in every kind of container score the same, through the configs and the whole evaluation."""

import gc
import io
import pickle
import sys
import tarfile

import fake_datasets
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from neglab.compose import build, compose
from neglab.data.sources import ImageSource
from neglab.pipeline import evaluate

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
LABELS = [0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9]
PIXELS = np.random.default_rng(0).integers(0, 256, (17, 32, 32, 3), dtype=np.uint8)  # 12 ID images, 5 OOD images
PNGS = []
for pixels in PIXELS:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    PNGS.append(file.getvalue())


@pytest.fixture
def root(tmp_path):
    for i, png in enumerate(PNGS):
        folder = tmp_path / ("id/" + CLASSES[LABELS[i]] if i < 12 else "ood")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:02d}.png").write_bytes(png)
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    return tmp_path


def image_folder(root, monkeypatch):
    return [f"id_dataset.root={root}/id", f"ood_datasets.image_folder.root={root}/ood"]


def image_list(root, monkeypatch):
    (root / "id.txt").write_text(
        "".join(f"id/{CLASSES[label]}/{i:02d}.png {label}\n" for i, label in enumerate(LABELS))
    )
    (root / "ood.txt").write_text("".join(f"ood/{i}.png -1\n" for i in range(12, 17)))
    ood = [f"ood_datasets.image_list.root={root}", f"ood_datasets.image_list.list_path={root}/ood.txt"]
    names = f"id_dataset.class_names={root}/names.txt"
    return [f"id_dataset.root={root}", f"id_dataset.list_path={root}/id.txt", names, *ood]


def webdataset(root, monkeypatch):
    for name, numbers in (("id", range(12)), ("ood", range(12, 17))):
        with tarfile.open(root / f"{name}.tar", "w") as shard:
            for i in numbers:
                for ending, content in (("cls", b"%d" % LABELS[i % 12]), ("png", PNGS[i])):
                    member = tarfile.TarInfo(f"{i:06d}.{ending}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    names = f"id_dataset.class_names={root}/names.txt"
    return [f"id_dataset.root={root}/id.tar", names, f"ood_datasets.webdataset.root={root}/ood.tar"]


def huggingface(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", fake_datasets)
    kinds = fake_datasets.Features(image=fake_datasets.Image(), label=fake_datasets.ClassLabel(CLASSES))
    for name, numbers in (("id", range(12)), ("ood", range(12, 17))):
        pictures = [{"bytes": PNGS[i], "path": None} for i in numbers]
        columns = {"image": pictures, "label": [LABELS[i % 12] for i in numbers]}
        fake_datasets.Dataset(columns, kinds, f"made of {name}").save_to_disk(f"{root}/rows/{name}")
    return [f"id_dataset.name={root}/rows/id", f"ood_datasets.huggingface.name={root}/rows/ood"]


def cifar10(root, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    rows = {"data": PIXELS[:12].transpose(0, 3, 1, 2).reshape(12, 3072), "labels": LABELS}
    (folder / "test_batch").write_bytes(pickle.dumps(rows))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    return [f"id_dataset.root={root}", "ood_datasets=image_folder", f"ood_datasets.image_folder.root={root}/ood"]


@pytest.fixture
def parts_of(overrides, root, monkeypatch):
    def built(write):
        kind = write.__name__
        groups = [f"id_dataset={kind}"] + ([] if kind == "cifar10" else [f"ood_datasets={kind}"])
        base = [text for text in overrides if not text.startswith(("id_dataset", "ood_datasets"))]
        return build(compose([*base, *groups, *write(root, monkeypatch), "method=mcm"], output=root))

    return built


@pytest.fixture
def score(parts_of):
    def run(write):
        (pair,) = evaluate(parts_of(write)).pairs
        return pair.id_images, pair.ood_images

    return run


@pytest.mark.parametrize("write", [image_list, webdataset, huggingface, cifar10])
def test_every_container_scores_like_the_files(score, write):
    for found, expected in zip(score(write), score(image_folder), strict=True):
        assert torch.equal(found.scores, expected.scores)
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.predicted, expected.predicted)
        assert len(set(found.paths)) == len(expected.paths)


@pytest.mark.parametrize("write", [image_folder, image_list, webdataset, huggingface, cifar10])
def test_no_image_is_an_object_until_it_is_asked_for(parts_of, write):
    for dataset in parts_of(write).benchmark.values():
        images = dataset.images()
        gc.collect()
        assert not [held for held in gc.get_objects() if issubclass(type(held), ImageSource)]
        sources = pickle.loads(pickle.dumps(images)).sources
        assert list(map(str, sources)) == list(images.sources.names) and len(sources) == len(images.labels)
        last = str(sources[len(sources) - 1])
        assert sources.named([last, "none"])[last].rgb().size == (32, 32) and len(sources.named(["none"])) == 0
        assert [source.key for source in sources.take([3, 0])] == [sources[3].key, sources[0].key]
