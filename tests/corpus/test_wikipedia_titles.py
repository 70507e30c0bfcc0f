import gzip
import sys
from types import SimpleNamespace

import pytest
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.corpus.wikipedia_titles import WikipediaTitlesCorpus
from neglab.types import UserError

# As Wikimedia's lists: a header, underscores, redirects beside articles.
DUMP = "page_title\nAnne_of_Green_Gables\nMercury_(planet)\nMercury_(element)\n\nÉtang_de_Thau\nC++\n"


def corpus(path="none.txt", **changes):
    knobs = {
        "dataset": None, "subset": "20231101.fr", "split": "train", "column": "title", "drop_disambiguation": False,
        "num_words": None, "expected_count": None,
    }  # fmt: skip
    return WikipediaTitlesCorpus(str(path), **{**knobs, **changes}, seed=0)


@pytest.fixture
def dump(tmp_path):
    (tmp_path / "titles.gz").write_bytes(gzip.compress(DUMP.encode()))
    return tmp_path / "titles.gz"


def test_titles_are_nouns_with_spaces(dump, tmp_path):
    words = corpus(dump).words(())
    assert words.names == ("Anne of Green Gables", "Mercury (planet)", "Mercury (element)", "Étang de Thau", "C++")
    assert set(words.parts_of_speech) == {"noun"}
    (tmp_path / "titles.txt").write_bytes(b"\xef\xbb\xbf" + DUMP.replace("\n", "\r\n").encode())
    assert corpus(tmp_path / "titles.txt").words(()) == words


def test_disambiguation_can_be_dropped(dump):
    words = corpus(dump, drop_disambiguation=True).words(())
    assert words.names == ("Anne of Green Gables", "Mercury", "Étang de Thau", "C++")


def test_titles_are_drawn_and_counted(dump, caplog):
    words = corpus(dump, num_words=2, expected_count=6).words(())
    assert len(words) == 2
    assert words == corpus(dump, num_words=2).words(())
    assert "titles.gz holds 5 words; corpus.expected_count is 6" in caplog.text


def test_a_dataset_of_hugging_face_is_streamed(monkeypatch):
    calls = []

    def load_dataset(*arguments, **options):
        calls.append((arguments, options))
        return iter([{"title": "Chat"}, {"title": "Mercure (planète)"}])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert corpus(dataset="wikimedia/wikipedia").words(()).names == ("Chat", "Mercure (planète)")
    options = {"split": "train", "streaming": True, "columns": ["title"]}
    assert calls == [(("wikimedia/wikipedia", "20231101.fr"), options)]


def test_a_dataset_that_cannot_be_read(monkeypatch):
    def load_dataset(*arguments, **options):
        raise ValueError("BuilderConfig '20231101.xx' not found.\nmore")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(UserError, match=r"got w/w, 20231101.fr, train and title. .* says: BuilderConfig .* found\.$"):
        corpus(dataset="w/w").words(())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        corpus(dataset="w/w").words(())


def test_mistakes(tmp_path):
    (tmp_path / "empty.txt").write_text("page_title\n\n")
    with pytest.raises(UserError, match=r"empty\.txt must hold at least one title"):
        corpus(tmp_path / "empty.txt").words(())


def test_the_yaml_names_the_file_that_is_missing(monkeypatch):
    monkeypatch.setenv("NEGLAB_DATA", "/nowhere")
    missing = instantiate(compose(["corpus=wikipedia_titles", "seed.value=7"]).corpus)
    assert (missing.num_words, missing.seed) == (70_000, 7)
    with pytest.raises(UserError, match=r"Wikimedia's dumps .*corpus\.dataset.*; got /nowhere/corpora/enwiki-latest"):
        missing.words(())
