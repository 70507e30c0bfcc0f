import errno
import hashlib
import io
import json
import os
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from neglab import parts as parts_module
from neglab import text_rows
from neglab.columns import PathTexts
from neglab.embedding import file_digests
from neglab.embedding import store as store_module
from neglab.embedding.module import PartFolders
from neglab.embedding.store import Store, write_atomically
from neglab.files import Document
from neglab.parts import RowsOf, merge_parts, read_parts, write_part
from neglab.text_rows import KeyedTexts, StoredRows
from neglab.types import UserError


def test_an_entry_comes_back_bit_for_bit(tmp_path):
    entry = Store(tmp_path).entry({"texts": ["a"]}, kind="text")
    assert entry.read(3, 4) is None
    embeddings = torch.randn(3, 4)
    entry.write(embeddings, {1: "torn"})
    read, manifest = entry.read(3, 4)
    assert torch.equal(read, embeddings)
    assert manifest.unreadable == {1: "torn"} and manifest.about == {"kind": "text"}


def test_the_key_is_the_content(tmp_path):
    store = Store(tmp_path)
    assert store.entry({"a": 1, "b": 2}).folder == store.entry({"b": 2, "a": 1}).folder
    assert store.entry({"a": 1}).folder != store.entry({"a": 2}).folder


@pytest.mark.parametrize("name", ["embeddings.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_damage_on_disk_is_detected(tmp_path, name, damage):
    entry = Store(tmp_path).entry({})
    entry.write(torch.randn(30, 4))
    content = (entry.folder / name).read_bytes()
    broken = content[: len(content) // 2]
    if damage == "flip" and name.endswith("safetensors"):
        broken = content[:-1] + bytes([content[-1] ^ 1])
    (entry.folder / name).write_bytes(broken)
    assert entry.read(30, 4) is None
    assert not (entry.folder / "manifest.json").exists()


def test_a_damaged_part_never_counts(tmp_path):
    write_part(tmp_path, {"index": torch.tensor([0, 1]), "embeddings": torch.ones(2, 3)})
    write_part(tmp_path, {"index": torch.tensor([2]), "embeddings": torch.ones(1, 3)})
    path = sorted(tmp_path.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-2])
    assert len(read_parts(tmp_path)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_is_checked_once(tmp_path, monkeypatch):
    entry = Store(tmp_path).entry({})
    entry.write(torch.ones(2, 3))
    entry.read(2, 3)
    monkeypatch.setattr(parts_module, "file_digest", lambda _: pytest.fail("read again"))
    assert torch.equal(Store(tmp_path).entry({}).read(2, 3)[0], torch.ones(2, 3))


def test_rows_are_found_by_their_text(tmp_path):
    texts, rows = [f"text {i}" for i in range(50)], torch.randn(50, 3)
    first = StoredRows(tmp_path, 3)
    assert first.lacking(KeyedTexts(["b", "a", "b"])).texts == ["b", "a"]
    first.add(KeyedTexts(texts[:30]), rows[:30])
    first.add(KeyedTexts(texts).take(torch.arange(30, 50)), rows[30:])
    for stored in (first, StoredRows(tmp_path, 3)):
        wanted = [49, 0, 31, 0, 29]
        assert torch.equal(stored.rows(KeyedTexts([texts[i] for i in wanted])), rows[wanted])
        both = KeyedTexts.joined([KeyedTexts(texts), KeyedTexts(["other"])])
        assert stored.lacking(both).texts == ["other"]
    with pytest.raises(RuntimeError, match="1 of 2 texts have no row"):
        first.rows(KeyedTexts(["text 1", "other"]))


@pytest.mark.parametrize(("large", "num_files"), [(0, 3), (10**6, 1)])
def test_the_files_of_a_pass_are_taken_over_and_small_ones_become_one(tmp_path, monkeypatch, large, num_files):
    monkeypatch.setattr(text_rows, "LARGE_BYTES", large)
    texts, rows = KeyedTexts([f"text {i}" for i in range(9)]), torch.randn(9, 3)
    stored, sink = StoredRows(tmp_path / "rows", 3), PartFolders({"job": tmp_path / "pass"}, {"job": texts.digests})
    stored.add(KeyedTexts(["earlier"]), torch.zeros(1, 3))
    for index in torch.randperm(9).split(4):
        sink("job", {"index": index, "embeddings": rows[index]})
    stored.adopt(tmp_path / "pass", read_parts(tmp_path / "pass", RowsOf(9, (3,))))
    assert len(list((tmp_path / "rows").iterdir())) == num_files + 1
    for one in (stored, StoredRows(tmp_path / "rows", 3)):
        assert torch.equal(one.rows(texts), rows)
        assert one.lacking(KeyedTexts(["text 3", "earlier", "other"])).texts == ["other"]


def test_digests_may_be_as_far_apart_as_numbers_go(tmp_path):
    digests = torch.tensor([[-(2**63), 2**63 - 1], [0, 0]])
    StoredRows(tmp_path, 3).add(KeyedTexts(["a", "b"], digests), torch.eye(2, 3))
    assert torch.equal(StoredRows(tmp_path, 3).rows(KeyedTexts(["b"], digests[:, 1:])), torch.eye(2, 3)[1:])


def test_a_damaged_file_of_rows_is_lacking(tmp_path):
    stored = StoredRows(tmp_path, 3)
    stored.add(KeyedTexts(["a"]), torch.ones(1, 3))
    stored.add(KeyedTexts(["b"]), torch.zeros(1, 3))
    next(tmp_path.iterdir()).write_bytes(b"half")
    assert len(StoredRows(tmp_path, 3).lacking(KeyedTexts(["a", "b"]))) == 1


@pytest.mark.parametrize("index", [[0, 2], [0, 1, 1], [0, 1, 3]])
def test_a_missing_or_repeated_row_is_an_error(index):
    part = {"index": torch.tensor(index), "embeddings": torch.ones(len(index), 2)}
    with pytest.raises(RuntimeError, match="each of its 3 items once"):
        merge_parts([part], 3)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    write_atomically(tmp_path / "file", b"before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="The disk is full"):
        write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_whoever_may_read_new_files_may_read_these(tmp_path):
    write_atomically(tmp_path / "file", b"content")
    (tmp_path / "plain").write_bytes(b"content")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def digests_of(store, paths, hashed=True):
    return dict(zip(paths, store.file_marks(PathTexts.of(paths), hashed).texts(0, len(paths)), strict=True))


def test_a_file_is_digested_again_only_when_it_changed(tmp_path, monkeypatch):
    store, file = Store(tmp_path / "store"), tmp_path / "image"
    file.write_bytes(b"one")
    first = digests_of(store, [file])
    monkeypatch.setattr(file_digests, "file_digest", lambda _: pytest.fail("read again"))
    assert digests_of(store, [file]) == first
    monkeypatch.undo()
    file.write_bytes(b"other")
    assert digests_of(store, [file]) != first
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert digests_of(store, [tmp_path / "link", file]) == {tmp_path / "link": "", **digests_of(store, [file])}


def test_two_files_of_one_name_size_and_time_are_two(tmp_path, monkeypatch):
    """As `photos/1.bmp` in two folders, named from within each."""
    store, digests = Store(tmp_path / "store"), []
    for content in (b"one", b"two"):
        folder = tmp_path / content.decode()
        (folder / "photos").mkdir(parents=True)
        (folder / "photos/1.bmp").write_bytes(content)
        os.utime(folder / "photos/1.bmp", ns=(10**18, 10**18))
        monkeypatch.chdir(folder)
        digests += digests_of(store, [Path("photos/1.bmp")]).values()
    assert len(set(digests)) == 2


def test_a_replaced_file_with_a_copied_time_is_read_again(tmp_path):
    store, file = Store(tmp_path / "store"), tmp_path / "image"
    file.write_bytes(b"one")
    first = digests_of(store, [file])
    status = file.stat()
    (tmp_path / "new").write_bytes(b"two")
    (tmp_path / "new").replace(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests_of(store, [file]) != first


def test_without_hashing_a_file_is_never_read_and_told_by_its_look(tmp_path, monkeypatch):
    monkeypatch.setattr(file_digests, "file_digest", lambda _: pytest.fail("read"))
    store, file, other = Store(tmp_path / "store"), tmp_path / "image", tmp_path / "other"
    for path in (file, other):
        path.write_bytes(b"one")
        os.utime(path, ns=(10**18, 10**18))
    first = digests_of(store, [file, other, tmp_path / "none"], hashed=False)
    assert len(set(first.values())) == 3 and first[tmp_path / "none"] == ""
    assert digests_of(store, [other], hashed=False)[other] == first[other]
    file.write_bytes(b"two")
    assert digests_of(store, [file], hashed=False)[file] != first[file]


def test_a_list_of_files_has_one_table_in_its_order(tmp_path):
    store, files = Store(tmp_path / "store"), [tmp_path / str(i) for i in range(3)]
    for i, file in enumerate(files):
        file.write_bytes(bytes([i]))
    digests = digests_of(store, files)
    assert digests == {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    files[1].unlink()
    assert digests_of(store, files) == {**digests, files[1]: ""}
    files[1].write_bytes(b"new")
    assert digests_of(store, files)[files[1]] == hashlib.sha256(b"new").hexdigest()
    assert len(list((tmp_path / "store/digests").iterdir())) == 1


STRANGE = [b"", b"[]", b"null", b"3", b"{}", b'{"files": 3}', b'{"files": {"a": [1]}}', b"[" * 100_000, b"\xff", None]


def put(path, content):
    """A folder where there is no content."""
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize("content", STRANGE)
def test_a_table_of_another_shape_is_made_again(tmp_path, content):
    store, file = Store(tmp_path / "store"), tmp_path / "image"
    file.write_bytes(b"one")
    first = digests_of(store, [file])
    (table,) = (tmp_path / "store/digests").iterdir()
    whole = table.read_bytes()
    put(table, content)
    assert digests_of(store, [file]) == first
    assert table.read_bytes() == whole


@pytest.mark.parametrize("name", ["embeddings.safetensors", "manifest.json"])
@pytest.mark.parametrize("content", STRANGE)
def test_an_entry_of_another_shape_is_made_again(tmp_path, name, content):
    entry = Store(tmp_path).entry({})
    for _ in range(2):
        entry.write(torch.ones(2, 3))
        assert entry.read(2, 3) is not None
        put(entry.folder / name, content)
        assert entry.read(2, 3) is None
        assert not list(entry.folder.iterdir())


@pytest.mark.parametrize(
    "changes", [{"shape": [3, 2]}, {"shape": [3]}, {"unreadable": {"2": "torn"}}, {"unreadable": []}, {"about": 3}]
)
def test_a_manifest_of_something_else_does_not_count(tmp_path, changes):
    entry = Store(tmp_path).entry({})
    entry.write(torch.ones(2, 3))
    path = entry.folder / "manifest.json"
    content = json.loads(path.read_text())["content"]
    path.write_bytes(Document.of(content, 1).as_json())
    assert entry.read(2, 3) is not None
    path.write_bytes(Document.of({**content, **changes}, 1).as_json())
    assert entry.read(2, 3) is None


@pytest.mark.parametrize("wanted", [(3, 3), (2, 4)])
def test_an_entry_of_another_size_than_asked_for_does_not_count(tmp_path, wanted):
    entry = Store(tmp_path).entry({})
    entry.write(torch.ones(2, 3))
    assert entry.read(*wanted) is None


@pytest.mark.parametrize(
    "part",
    [
        {"embeddings": torch.ones(2, 3)},
        {"index": torch.tensor([0, 1])},
        {"index": torch.tensor([0, 4]), "embeddings": torch.ones(2, 3)},
        {"index": torch.tensor([0, 1]), "embeddings": torch.ones(2, 2)},
        {"index": torch.tensor([0, 1]), "embeddings": torch.ones(2, 3).double()},
        {"index": torch.tensor([[0, 1]]), "embeddings": torch.ones(2, 3)},
    ],
)
def test_a_part_of_something_else_is_removed(tmp_path, part):
    write_part(tmp_path, part)
    assert read_parts(tmp_path, RowsOf(4, (3,))) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "part",
    [
        {"index": torch.tensor([0, 1]), "embeddings": torch.ones(2, 3)},
        {"digests": torch.zeros(2, 2, dtype=torch.long), "embeddings": torch.ones(2, 4)},
        {"digests": torch.tensor([[1, 0], [0, 0]]), "embeddings": torch.ones(2, 3)},
        {"digests": torch.zeros(2, 0, dtype=torch.long), "embeddings": torch.ones(0, 3)},
    ],
)
def test_rows_of_something_else_are_removed(tmp_path, part):
    write_part(tmp_path, part)
    assert StoredRows(tmp_path, 3).lacking(KeyedTexts(["a"])).texts == ["a"]
    assert not list(tmp_path.iterdir())


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(os, "fsync", lambda _: order.append("fsync"))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("rename"), rename(*names)))
    write_atomically(tmp_path / "file", b"content")
    assert order == ["fsync", "rename"]


def test_a_path_with_a_nul_is_refused():
    with pytest.raises(UserError, match="must hold no NUL"):
        Store("a\0b")


def test_two_holders_of_one_entry_take_turns(tmp_path):
    store, order = Store(tmp_path), []
    entries = [store.entry({"n": n}) for n in range(2)]
    held, released = threading.Event(), threading.Event()

    def second():
        held.wait()
        with store.locked(entries[::-1]):  # the other order must not deadlock
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.locked(entries):
        held.set()
        released.wait(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_who_waits_says_so_and_not_for_ever(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(store_module, "REMARK", 0.1)
    monkeypatch.setattr(store_module, "LONGEST", 0.2)
    store = Store(tmp_path)
    entry = store.entry({})
    with store.locked([entry]), pytest.raises(UserError, match="Another run has held"), store.locked([entry]):
        pass
    assert "waiting until it is done" in caplog.text


def test_a_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file")
    with pytest.raises(UserError, match="store must be a folder that can be written"), store.locked([store.entry({})]):
        pass


def test_parts_in_any_order_make_the_file_that_safetensors_makes(tmp_path):
    embeddings = torch.randn(50, 3)
    order = torch.cat([batch for batch in reversed(torch.arange(50).split(4))])
    parts = [{"index": index, "embeddings": embeddings[index]} for index in order.split(17)]
    entry = Store(tmp_path).entry({})
    entry.write_parts(iter(parts), (50, 3), {2: "torn"})
    assert (entry.folder / "embeddings.safetensors").read_bytes() == save({"embeddings": embeddings})
    read, manifest = entry.read(50, 3)
    assert torch.equal(read, embeddings) and manifest.unreadable == {2: "torn"}


def test_a_full_disk_is_said_where_digests_are_kept(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "image").write_bytes(b"one")
    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode))
    with pytest.raises(UserError, match=r"The disk is full: \S+safetensors needs [\d,]+ bytes"):
        digests_of(Store(tmp_path / "store"), [tmp_path / "image"])
    assert not list((tmp_path / "store/digests").iterdir())


def test_digests_that_have_not_changed_stay_on_the_disk(tmp_path, monkeypatch):
    files = PathTexts.of([tmp_path / str(i) for i in range(3)])
    for file in files:
        Path(file).write_bytes(file.encode())
    store = Store(tmp_path / "store")
    first = store.file_marks(files)
    monkeypatch.setattr(file_digests, "write_tensors", lambda *_: pytest.fail("written again"))
    again = store.file_marks(files)
    assert first.rows.flags.owndata and not again.rows.flags.owndata
    assert again.texts(0, 3) == first.texts(0, 3) == [hashlib.sha256(file.encode()).hexdigest() for file in files]
