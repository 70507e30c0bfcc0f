import errno
import os

import pytest
import torch
from safetensors.torch import load_file

from neglab import mapped
from neglab.errors import UserError
from neglab.mapped import mapped_empty, rows_at, write_tensors
from neglab.parts import merge_parts


def own_memory():
    """Bytes of this process that no file holds."""
    with open("/proc/self/status") as lines:
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (0,), (0, 4)])
def test_a_mapped_tensor_is_like_any_other(shape, dtype):
    tensor, values = mapped_empty(shape, dtype), (10 * torch.randn(shape)).to(dtype)
    tensor[:] = values
    assert tensor.shape == shape and tensor.dtype == dtype and torch.equal(tensor, values)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux says what memory is a process's own")
def test_merged_rows_take_no_memory_of_the_process_and_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    count = 2**22
    index = torch.randperm(count)
    parts = [{"index": own, "scores": own.double(), "predicted": -own} for own in index.split(count // 4)]
    before = own_memory()
    merged = merge_parts(parts, count, on_disk=True)
    assert own_memory() - before < 4 * count  # of 16 bytes a row
    assert torch.equal(merged["predicted"], -torch.arange(count)) and merged["scores"].dtype == torch.float64
    assert not list(tmp_path.iterdir())


def test_rows_are_taken_part_by_part(monkeypatch):
    monkeypatch.setattr(mapped, "ROWS", 2)
    rows, positions = torch.randn(7, 3), torch.tensor([6, 0, 3, 3, 5])
    assert torch.equal(rows_at(rows, positions), rows[positions])
    assert rows_at(rows, positions[:0]).shape == (0, 3)


def test_a_file_of_several_tensors(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3).T, "b": torch.arange(5, dtype=torch.uint8), "c": torch.randn(0, 2)}
    write_tensors(tmp_path / "file", tensors)
    read = load_file(tmp_path / "file")
    assert read.keys() == tensors.keys() and all(torch.equal(read[name], tensors[name]) for name in read)


def test_a_full_folder_for_temporary_files_is_said(monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "TemporaryFile", Full)
    with pytest.raises(UserError, match=r"The disk is full: 40 bytes do not fit into .* \(TMPDIR\)"):
        mapped_empty((5,), torch.int64)
