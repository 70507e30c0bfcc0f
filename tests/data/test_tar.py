import io
import os
import tarfile

import pytest

from neglab.data.tar import contents, members
from neglab.types import UserError

NAMES = ("a.jpg", "folder/b.cls", "é 図.png", f"{'long/' * 30}c.jpg", f"{'x' * 120}.txt")


def listed(path):
    with contents(path) as content:
        return list(members(path, content))


def write(path, kind="w", tar_format=tarfile.PAX_FORMAT, names=NAMES, mtime=0.5):
    with tarfile.open(path, kind, format=tar_format) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for i, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = i * 300, mtime
            archive.addfile(member, io.BytesIO(bytes([65 + i]) * member.size))
    return path


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, tar_format):
    names = NAMES[:-1] if tar_format == tarfile.USTAR_FORMAT else NAMES
    path = write(tmp_path / "a.tar", tar_format=tar_format, names=names, mtime=0 if tar_format == 0 else 0.5)
    with tarfile.open(path) as archive:
        expected = [(member.name, member.offset_data, member.size) for member in archive if member.isfile()]
    assert listed(path) == expected
    assert [name for name, _, _ in expected] == list(names)


def test_a_size_of_many_gigabytes(tmp_path):
    member = tarfile.TarInfo("a.jpg")
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member.size = 2**34
        (tmp_path / "a.tar").write_bytes(member.tobuf(tar_format))
        with pytest.raises(UserError, match=r"ends within a\.jpg"):
            listed(tmp_path / "a.tar")


def test_what_is_no_whole_tar_file(tmp_path):
    compressed = write(tmp_path / "a.tar", "w:gz")
    with pytest.raises(UserError, match=r"has no header at byte 0. Decompress it, or fetch it again"):
        listed(compressed)
    whole = write(tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"EEEE") + 5])
    with pytest.raises(UserError, match="ends within xxx"):
        listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(whole[:100] + b"zz" * 12 + whole[124:])
    with contents(tmp_path / "a.tar") as content:
        assert next(members(tmp_path / "a.tar", content), None)
    (tmp_path / "a.tar").write_bytes(whole[:124] + b"z" * 12 + whole[136:])
    with pytest.raises(UserError, match="must be whole and not compressed"):
        listed(tmp_path / "a.tar")


def with_extended_header(record):
    """A file behind a header of POSIX's kind."""
    extended, member = tarfile.TarInfo("x"), tarfile.TarInfo("a.jpg")
    extended.type, extended.size, member.size = b"x", len(record), 3
    blocks = [extended.tobuf(tarfile.USTAR_FORMAT), record.ljust(512, b"\0")]
    return b"".join([*blocks, member.tobuf(tarfile.USTAR_FORMAT), b"abc".ljust(512, b"\0"), bytes(1024)])


@pytest.mark.parametrize("record", [b"0 path=b.jpg\n", b"-9 path=b.jpg\n", b"1", b"17 size=-1024\n", b"x path=b\n"])
def test_a_header_that_leads_nowhere_ends(tmp_path, record):
    (tmp_path / "a.tar").write_bytes(with_extended_header(b"14 path=b.jpg\n"))
    assert [name for name, _, _ in listed(tmp_path / "a.tar")] == ["b.jpg"]
    (tmp_path / "a.tar").write_bytes(with_extended_header(record))
    with pytest.raises(UserError, match="must be whole"):
        listed(tmp_path / "a.tar")


def test_a_size_below_zero_ends(tmp_path):
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"-0000002000\0"
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    with pytest.raises(UserError, match="must be whole"):
        listed(tmp_path / "a.tar")


def test_every_cut_is_said_or_ends_behind_a_member(tmp_path):
    whole = write(tmp_path / "a.tar").read_bytes()
    for length in range(1, len(whole), 97):
        (tmp_path / "a.tar").write_bytes(whole[:length])
        try:
            assert len(listed(tmp_path / "a.tar")) <= len(NAMES)
        except UserError as error:
            assert "must be whole" in str(error)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_only_a_file_is_opened(tmp_path, make):
    make(tmp_path / "a.tar")
    with pytest.raises(UserError, match="must be one that can be read"):
        listed(tmp_path / "a.tar")
