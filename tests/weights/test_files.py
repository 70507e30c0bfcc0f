"""Weights files: a damaged one is refused by its digest, and a hub out of reach is said to be one."""

import hashlib

import httpx
import pytest

from neglab.types import UserError
from neglab.weights.files import DIGESTS, advice, check_digests


def test_a_file_is_held_to_its_digest(tmp_path):
    check_digests(tmp_path)  # a folder of one's own has no table
    (tmp_path / "weights").write_bytes(b"whole")
    digest = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / DIGESTS).write_text(f"{digest}  weights\n")
    check_digests(tmp_path)
    (tmp_path / "weights").write_bytes(b"who")
    with pytest.raises(UserError, match=f"weights must be the file with the sha256 {digest[:12]}.*cut short"):
        check_digests(tmp_path)
    (tmp_path / "weights").unlink()
    with pytest.raises(UserError, match="found no file"):
        check_digests(tmp_path)


@pytest.mark.parametrize("cause", [ConnectionRefusedError("no"), TimeoutError("late"), httpx.ConnectError("no")])
def test_a_hub_out_of_reach_is_said_to_be_one(cause):
    try:
        try:
            raise cause
        except Exception as error:
            raise OSError("could not load") from error
    except OSError as error:
        assert "backbone=mini" in advice(error)


def test_other_errors_get_no_such_advice():
    assert advice(ValueError("of another shape")) == ""
