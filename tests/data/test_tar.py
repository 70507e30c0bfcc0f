import io
import tarfile

import pytest

from neglab.data.tar import members
from neglab.types import UserError

NAMES = ("a.jpg", "folder/b.cls", "é 図.png", f"{'long/' * 30}c.jpg", f"{'x' * 120}.txt")


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
    assert list(members(path)) == expected
    assert [name for name, _, _ in expected] == list(names)


def test_a_size_of_many_gigabytes(tmp_path):
    member = tarfile.TarInfo("a.jpg")
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        member.size = 2**34
        (tmp_path / "a.tar").write_bytes(member.tobuf(tar_format))
        with pytest.raises(UserError, match=r"ends within a\.jpg"):
            list(members(tmp_path / "a.tar"))


def test_what_is_no_whole_tar_file(tmp_path):
    compressed = write(tmp_path / "a.tar", "w:gz")
    with pytest.raises(UserError, match=r"has no header at byte 0. Decompress it, or fetch it again"):
        list(members(compressed))
    whole = write(tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: whole.index(b"EEEE") + 5])
    with pytest.raises(UserError, match="ends within xxx"):
        list(members(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        list(members(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(whole[:100] + b"zz" * 12 + whole[124:])
    assert next(members(tmp_path / "a.tar"), None)
    (tmp_path / "a.tar").write_bytes(whole[:124] + b"z" * 12 + whole[136:])
    with pytest.raises(UserError, match="must be whole and not compressed"):
        list(members(tmp_path / "a.tar"))
