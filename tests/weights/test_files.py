"""Weights files: a damaged one is refused by its digest, and a hub out of reach is said to be one."""

import hashlib
import socket

import httpx
import pytest
from huggingface_hub import constants as hub
from transformers.utils.import_utils import SACREMOSES_IMPORT_ERROR, SENTENCEPIECE_IMPORT_ERROR

from neglab.types import UserError
from neglab.weights.files import DIGESTS, PROXIES, advice, check_digests, look_for_hub


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


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'tiktoken'", name="tiktoken"), "tiktoken"),
        (ModuleNotFoundError("No module named 'google.protobuf'", name="google.protobuf"), "protobuf"),
        (ImportError(SENTENCEPIECE_IMPORT_ERROR.format("XTokenizer")), "sentencepiece"),
        (ImportError(SACREMOSES_IMPORT_ERROR.format("XTokenizer")), "sacremoses"),
        (ImportError("X needs it: `pip install -U beautifulsoup4`"), "beautifulsoup4"),
    ],
)
def test_a_tokenizers_missing_package_is_named(error, package):
    assert advice(error).endswith(f"A package is missing: pip install {package}")
    assert advice(ImportError("cannot import name x")) == ""


def test_other_errors_get_no_such_advice():
    assert advice(ValueError("of another shape")) == ""


@pytest.mark.parametrize("listens", [True, False])
def test_a_hub_that_does_not_answer_is_not_tried_again_and_again(monkeypatch, listens):
    """Its library would try for a minute; told that it is offline, it looks into its cache alone."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        if listens:
            look_for_hub.__wrapped__()
    if not listens:
        look_for_hub.__wrapped__()
    assert (not listens) == hub.HF_HUB_OFFLINE
