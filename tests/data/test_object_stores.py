"""Images, lists, shards and names at addresses are those that lie on a disk."""

import gc
import io
import pickle
import tarfile

import fakes
import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from torchvision.transforms.functional import to_tensor

from neglab.data.archive import ArchiveFolder
from neglab.data.base import UnreadableImageError, check_apart, read_image
from neglab.data.image_folder import ImageFolder
from neglab.data.image_list import ImageListFile
from neglab.data.listed import seen_files
from neglab.data.names import given_names
from neglab.data.photos import Photos
from neglab.data.sources import ImageFile
from neglab.data.webdataset import WebDataset
from neglab.embedding.module import ImageJob
from neglab.embedding.store import Store
from neglab.embedding.task import described
from neglab.places import RemoteBytes, RemotePath, packed, place_of
from neglab.types import UserError

BUCKET = "memory://bucket"
SCHEMES = ("memory", "local")  # `local` goes through fsspec too; a plain path or file:// does not


@pytest.fixture
def disk(tmp_path):
    """Two classes, with what is left aside and an order that text alone would not give."""
    root = tmp_path / "set"
    for name, count in (("2 cats", 2), ("10 dogs", 3)):
        fakes.write_pictures(root / name, count)
    fakes.write_pictures(root / "10 dogs" / "deeper", 1)
    (root / "10 dogs" / "notes.txt").write_text("no picture")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "a.png").write_bytes(b"junk")
    with tarfile.open(root / "val-0.tar", "w") as archive:
        for i, path in enumerate(sorted((root / "10 dogs").glob("*.png"))):
            for ending, content in (("png", path.read_bytes()), ("cls", b"%d" % (i % 2))):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return root


@pytest.fixture
def store():
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()


@pytest.fixture(params=SCHEMES)
def root(request, disk, store):
    """The address of the same files."""
    if request.param == "local":
        return f"local://{disk}"
    store.put(f"{disk}/", "/bucket/set/", recursive=True)
    return f"{BUCKET}/set"


def pictures(images):
    return [read_image(source, to_tensor).tolist() for source in images.sources]


def names(images, root):
    return [str(source).removeprefix(f"{root}/") for source in images.sources]


@pytest.mark.parametrize("labelled", [True, False])
def test_a_folder_has_the_images_of_the_disk_in_their_order(disk, root, labelled, caplog):
    options = (labelled, None, ["10 dogs", "2 cats"] if labelled else None, None)
    expected, found = ImageFolder(str(disk), *options).images(), ImageFolder(root, *options).images()
    assert len(expected) == 6 and found.labels == expected.labels
    assert names(found, root) == names(expected, disk)
    assert pictures(found) == pictures(expected)
    assert all(source.origin is None and source.key.startswith(f"{root}/") for source in found.sources)
    assert f"files below {root}" in caplog.text and "no images" in caplog.text


def test_subfolders_are_the_classes(disk, root):
    (disk / "val-0.tar").unlink()
    folder = ImageFolder(root, True, ["cat", "dog"], None, None)
    assert folder.class_keys() == ["2 cats", "10 dogs"]
    assert [place.name for place in folder.extent()] == ["2 cats", "10 dogs"]


def test_many_classes_cost_a_request_each(store, monkeypatch):
    store.pipe({f"/bucket/c{i}/{j}.png": b"" for i in range(20) for j in range(2)})
    calls = []
    for name in ("info", "ls"):
        own = getattr(store, name)
        monkeypatch.setattr(store, name, lambda path, own=own, **options: calls.append(path) or own(path, **options))
    for folders in (None, [f"c{i}" for i in range(20)]):
        calls.clear()
        assert len(ImageFolder(BUCKET, True, None, folders, None).images()) == 40
        # The memory file system lists a folder within its own info.
        assert len([path for path in calls if path.startswith("/bucket/c")]) <= 20 and len(calls) <= 20 + 5


def test_a_changed_file_has_another_key_and_one_that_stayed_has_not(store):
    def keys():
        return [source.key for source in ImageFolder(BUCKET, False, None, None, None).images().sources]

    store.pipe({"/bucket/a.png": b"one", "/bucket/b.png": b"two"})
    before = keys()
    assert keys() == before
    store.pipe({"/bucket/b.png": b"six"})  # of the same size
    assert keys()[0] == before[0] and keys()[1] != before[1]


def test_a_digest_of_the_store_is_preferred_to_its_times(monkeypatch, store):
    entry = {"name": "/bucket/a.png", "type": "file", "size": 3, "ETag": '"e"', "created": 1.0}
    monkeypatch.setattr(store, "info", lambda path: entry)
    assert RemotePath(f"{BUCKET}/a.png").seen().key == f'{BUCKET}/a.png "e" 3'
    monkeypatch.setattr(store, "info", lambda path: {"name": path, "type": "file", "size": 3})
    with pytest.raises(UserError, match=r"must say when a file has changed; that of memory://bucket/a.png"):
        RemotePath(f"{BUCKET}/a.png").seen()


def test_photos_are_turned(root, disk):
    photos = Photos.below(f"{root}/2 cats/picture00.png", "images")
    assert len(Photos.below(root, "images").images()) == 6
    (source,) = photos.images().sources
    assert source.key.endswith(" upright") and source.path.mark
    assert source.rgb().size == ImageFile(disk / "2 cats" / "picture00.png").rgb().size
    with pytest.raises(UserError, match=r"there is no .*nothing"):
        Photos.below(f"{root}/nothing", "images")


def image_list(root, lines, place):
    with fsspec.open(place, "w") as file:
        file.write("\n".join(lines))
    return ImageListFile(root, place, True, ["cat", "dog"], None)


def test_a_list_at_an_address(root, disk, store):
    lines = ["10 dogs/picture01.png 1", f"{root}/2 cats/picture00.png 0", "10 dogs/none.png 1"]
    images = image_list(root, lines, "memory://lists/l.txt").images()
    assert images.labels == (1, 0, 1)
    assert names(images, root) == ["10 dogs/picture01.png", "2 cats/picture00.png", "10 dogs/none.png"]
    found = [source.path.mark != "" for source in images.sources]
    assert found == [True, True, False]
    with pytest.raises(UnreadableImageError):
        read_image(images.sources[2], to_tensor)
    on_disk = ImageListFile(str(disk), "memory://lists/l.txt", True, ["cat", "dog"], None)
    with pytest.raises(UserError, match="below its root alone"):  # an address in a list never leads off the disk
        on_disk.images()


@pytest.mark.parametrize(
    "line",
    ["../secret/a.png", "a/../../b.png", "/secret/a.png", "memory://secret/a.png", "memory://bucket/settle/a.png"],
)
def test_a_list_cannot_lead_out_of_its_root(store, monkeypatch, line):
    store.pipe({"/bucket/set/a.png": b"", "/secret/a.png": b"", "/bucket/settle/a.png": b""})
    lists = image_list(f"{BUCKET}/set", [f"{line} 0"], "memory://lists/l.txt")
    asked = []
    for name in ("info", "ls"):
        own = getattr(store, name)
        monkeypatch.setattr(store, name, lambda path, own=own, **options: asked.append(path) or own(path, **options))
    with pytest.raises(UserError, match="may name what lies below its root alone, here memory://bucket/set; got"):
        lists.images()
    assert all(path.startswith("/lists") for path in asked)


def test_an_address_within_an_address_is_not_followed(store):
    with pytest.raises(UserError, match="must be a plain one"):
        place_of("zip://a.png::memory://bucket/a.zip")
    store.pipe("/elsewhere.zip", b"")
    source = place_of(BUCKET).below("x::memory://elsewhere.zip")
    assert not source.exists()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shards_are_read_in_place(disk, root, scheme):
    options = (True, None, "cls", ["cat", "dog"], None)
    expected = WebDataset(str(disk), *options).images()
    for place in (root, f"{root}/val-*.tar", f"{root}/val-0.tar"):
        found = WebDataset(place, *options)
        images = found.images()
        assert images.labels == expected.labels and pictures(images) == pictures(expected)
        assert [place.name for place in found.extent()] == ["val-0.tar"]
        assert all(source.origin is None and source.key.startswith(f"{root}/val-0.tar ") for source in images.sources)
    with pytest.raises(UserError, match=r"shards that end with .tar"):
        WebDataset(f"{root}/train-*.tar", *options).images()


def test_a_shard_is_listed_in_few_requests(store, monkeypatch):
    content = bytes(range(256)) * 64
    store.pipe("/bucket/a", content)
    calls, read = [], store.cat_file
    monkeypatch.setattr(store, "cat_file", lambda *args, **options: calls.append(options) or read(*args, **options))
    monkeypatch.setattr("neglab.places.AHEAD", 4096)
    held = RemoteBytes(RemotePath(f"{BUCKET}/a").seen())
    for start in range(0, len(content), 512):
        assert held[start : start + 512] == content[start : start + 512]
    assert len(held) == len(content) and len(calls) == len(content) / 4096
    assert held[100:9000] == content[100:9000] and held[len(content) - 3 : len(content) + 9] == content[-3:]


def test_damaged_shards_are_said(store):
    store.pipe({"/bucket/empty.tar": b"", "/bucket/cut.tar": b"x" * 700})
    for name, message in (("empty", "is empty"), ("cut", "must be whole and not compressed")):
        with pytest.raises(UserError, match=message):
            WebDataset(f"{BUCKET}/{name}.tar", False, None, "cls", None, None).images()


def test_names_at_an_address(store):
    store.pipe({"/bucket/names.json": b'{"0": "cat", "1": "dog"}', "/bucket/names.txt": b"owl\n\ncat\n"})
    assert given_names(f"{BUCKET}/names.json") == ["cat", "dog"]
    assert given_names(f"{BUCKET}/names.txt") == ["owl", "cat"]
    with pytest.raises(UserError, match=r"file of names must exist; got memory://bucket/none.txt \(there is none\)"):
        given_names(f"{BUCKET}/none.txt")


def test_folders_are_asked_once(store, monkeypatch):
    store.pipe({f"/bucket/{i % 2}/{i}.png": b"" for i in range(20)})
    calls, ls = [], store.ls
    monkeypatch.setattr(store, "ls", lambda path, **options: calls.append(path) or ls(path, **options))
    monkeypatch.setattr(store, "info", lambda path: {"name": path, "type": "directory", "size": 0})
    files = [RemotePath(f"{BUCKET}/{i % 2}/{i}.png") for i in range(20)]
    seen = list(seen_files(packed(files)))
    assert seen == files and all(place.mark for place in seen)
    assert calls == ["/bucket/0", "/bucket/1"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("Forbidden"), r"Forbidden\). Credentials are taken .* FSSPEC_MEMORY="),
        (RuntimeError("Unable to locate credentials\nmore"), r"locate credentials\). Credentials are taken"),
        (ConnectionError("no route"), r"ConnectionError: no route\). What was finished is kept"),
        (TimeoutError(), r"TimeoutError\). What was finished is kept"),
    ],
)
def test_a_store_that_cannot_be_read_is_one_message(store, monkeypatch, error, message):
    """Neither a missing folder nor an unreadable image: those would be skipped."""
    store.pipe({"/bucket/a.png": b""})
    folder = ImageFolder(BUCKET, False, None, None, None)
    images = folder.images()

    def fail(*args, **options):
        raise error

    for name in ("info", "ls", "cat_file"):
        monkeypatch.setattr(store, name, fail)
    for call in (folder.images, lambda: read_image(images.sources[0], to_tensor)):
        with pytest.raises(UserError, match=rf"memory://bucket\S* is not \(.*{message}"):
            call()


def test_protocols_that_are_not_there():
    fsspec.register_implementation("nowhere", "none.Such", clobber=True, errtxt="Install such")
    with pytest.raises(UserError, match=r"\(ImportError: Install such\). nowhere:// is read by a package of its own"):
        ImageFolder("nowhere://bucket", False, None, None, None).images()
    with pytest.raises(UserError, match=r"Protocol not known: nothing.*Known are s3, gs, hf"):
        ImageFolder("nothing://bucket", False, None, None, None).images()


def test_no_such_bucket(store):
    for labelled in (True, False):
        with pytest.raises(UserError, match="image folder must exist; got memory://nowhere"):
            ImageFolder("memory://nowhere", labelled, None, None, None).images()
    with pytest.raises(UserError, match=r"list of images must exist; got memory://nowhere/l.txt"):
        ImageListFile(BUCKET, "memory://nowhere/l.txt", False, None, None).images()


def test_a_set_that_lies_on_a_disk_says_so():
    with pytest.raises(UserError, match="Only image_folder, image_list and webdataset read addresses"):
        ArchiveFolder("s3://bucket/textures", "", "", False, None).images()


def test_sets_in_a_store_are_held_apart(store):
    store.pipe({"/bucket/a/b/1.png": b"", "/bucket/ab/1.png": b""})
    own, inner, other = (ImageFolder(f"{BUCKET}/{name}", False, None, None, None) for name in ("a", "a/b", "ab"))
    with pytest.raises(UserError, match="all those in memory://bucket/a/b are"):
        check_apart(own, {"inner": inner})
    check_apart(own, {"other": other})


def test_helpers_are_not_sent_to_addresses(root):
    """The key-value store of torchrun has no password."""
    images = ImageFolder(root, False, None, None, None).images()
    job = ImageJob("0" * 64, images, to_tensor, 2)
    assert described(fakes.PixelBackbone(), 0, [job], [torch.zeros(len(job), dtype=torch.bool)]) is None


def test_a_store_of_embeddings_lies_on_a_disk(tmp_path):
    with pytest.raises(UserError, match="store must be a folder on a disk; got s3://bucket"):
        Store("s3://bucket")
    assert place_of(f"file://{tmp_path}") == tmp_path


def test_an_object_is_four_columns(store):
    store.pipe({f"/bucket/{i % 3}/{i:02d}.png": b"" for i in range(50)})
    listed = image_list(BUCKET, [f"{i % 3}/{i:02d}.png 0" for i in range(50)], "memory://lists/l.txt")
    for dataset in (ImageFolder(BUCKET, False, None, None, None), listed):
        before = remote_paths()
        images = dataset.images()
        assert remote_paths() - before < 5  # of 50
        assert sorted(images.sources.names) == sorted(f"{BUCKET}/{i % 3}/{i:02d}.png" for i in range(50))
        assert len({source.key for source in pickle.loads(pickle.dumps(images)).sources}) == 50


def remote_paths():
    gc.collect()
    return len([held for held in gc.get_objects() if type(held) is RemotePath])
