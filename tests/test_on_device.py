from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from neglab import on_device
from neglab.on_device import rows_at_once

PACKAGE = Path(on_device.__file__).parent
H100 = 80 * 2**30


@pytest.fixture
def memory(monkeypatch):
    """Of the GPU, in bytes."""

    def of(size):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: SimpleNamespace(total_memory=size))

    return of


@pytest.mark.parametrize("kind", ["cpu", "meta"])
def test_a_cpu_has_the_given_elements(kind):
    assert rows_at_once(torch.zeros(1, device=kind), 100, 2**22) == 2**22 // 100
    assert rows_at_once(torch.zeros(1, device=kind), 100, 2**22, 16) == 2**22 // 1600 * 16
    assert rows_at_once(torch.zeros(1), 10, 3) == 1 and rows_at_once(torch.zeros(1), 10, 3, 8) == 8
    assert rows_at_once(torch.zeros(1), 0, 5) == 5


def test_a_gpu_has_more_by_its_memory(memory):
    memory(H100)
    assert on_device._elements_at_once(2**24, torch.device("cuda")) * 4 == H100 // on_device.GPU_SHARE
    memory(2**30)  # a small one has no less than a CPU
    assert on_device._elements_at_once(2**24, torch.device("cuda")) == 2**24


@pytest.mark.parametrize("room", ["score", "negative_selector"])
def test_every_chunk_asks_for_its_size(room):
    files = list((PACKAGE / room).glob("*.py"))
    assert sum("rows_at_once(" in path.read_text() for path in files) > 3
    assert not [path.name for path in files if "ELEMENTS //" in path.read_text()]
