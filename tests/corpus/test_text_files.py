import pytest

from neglab.corpus.text_files import TextFilesCorpus
from neglab.types import UserError


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "noun.time.txt").write_text("noon\nspring\n")
    (tmp_path / "noun.body.txt").write_text("arm\nred\nnoon\n")
    (tmp_path / "adj.all.txt").write_text("red\n[thermal\nspring\n")
    (tmp_path / "verb.all.txt").write_text("run\n")
    return tmp_path


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("authors", {"noon": "noun", "spring": "noun", "red": "adjective", "[thermal": "adjective", "arm": "noun"}),
        (
            "negrefine_authors",
            {"noon": "noun", "spring": "noun", "red": "adjective", "[thermal": "adjective", "arm": "noun"},
        ),
        (
            "alphabetical",
            {"red": "adjective", "[thermal": "adjective", "spring": "adjective", "arm": "noun", "noon": "noun"},
        ),
        (["noun.body.txt", "adj.all"], {"arm": "noun", "red": "noun", "noon": "noun"}),
    ],
)
def test_the_order_of_the_files_decides(lists, order, expected):
    words = TextFilesCorpus(str(lists), order, []).words(())
    found = dict(zip(words.names, words.parts_of_speech, strict=True))
    assert expected.items() <= found.items()
    assert "run" not in found
    if isinstance(order, str):
        assert list(found) == list(expected)


def test_lists_can_be_excluded(lists):
    assert "arm" not in TextFilesCorpus(str(lists), "authors", ["noun.body"]).words(()).names


def test_mistakes(tmp_path, lists):
    with pytest.raises(UserError, match=r"corpus\.path must be a folder"):
        TextFilesCorpus(str(tmp_path / "nowhere"), "authors", []).words(())
    with pytest.raises(UserError, match=r"corpus\.file_order must be one of"):
        TextFilesCorpus(str(lists), "random", [])
    with pytest.raises(UserError, match=r"lacks: noun\.act"):
        TextFilesCorpus(str(lists), ["noun.act"], []).words(())
    with pytest.raises(UserError, match=r"must hold lists named noun"):
        TextFilesCorpus(str(lists), "authors", ["noun.time", "noun.body", "adj.all"]).words(())
    (lists / "noun.act.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match="must be UTF-8"):
        TextFilesCorpus(str(lists), "authors", []).words(())
