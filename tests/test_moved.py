"""Import paths of version 0.1 still lead where they led."""

from importlib import import_module

import pytest

import neglab
from neglab.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_the_new_modules_names(old):
    before, now = import_module(old), import_module(MOVED[old])
    own = [name for name, value in vars(now).items() if getattr(value, "__module__", None) == now.__name__]
    assert own
    assert all(getattr(before, name) is getattr(now, name) for name in own)


def test_the_detector_is_where_it_was():
    assert import_module("neglab.detector").Detector is neglab.Detector


def test_what_never_was_is_still_missing():
    with pytest.raises(ModuleNotFoundError):
        import_module("neglab.never_was")
