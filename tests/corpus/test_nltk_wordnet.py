import shutil

import pytest
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.corpus.nltk_wordnet import NLTKWordNetCorpus
from neglab.types import UserError


def corpus(wordnet="wordnet", language="eng", expected_count=None):
    return NLTKWordNetCorpus(wordnet, language, "omw-1.4", expected_count)


def test_english_needs_its_wordnet_alone(nltk_data):
    shutil.rmtree(nltk_data / "corpora" / "omw-1.4")
    (nltk_data / "corpora" / "wordnet").rename(nltk_data / "corpora" / "mine")
    words = corpus("mine").words(())
    assert words.names == ("cat", "entity", "frog", "red", "tree frog", "big", "huge")
    assert words.parts_of_speech == ("noun",) * 5 + ("adjective",) * 2


@pytest.mark.parametrize(
    ("language", "names"), [("fra", ("Chat", "grenouille arboricole", "gros")), ("slk", ("žaba", "veľký"))]
)
def test_other_languages(nltk_data, language, names):
    words = corpus(language=language).words(())
    assert words.names == names
    assert words.parts_of_speech == ("noun",) * (len(names) - 1) + ("adjective",)


def test_a_zipped_package_is_read_as_the_downloader_leaves_it(nltk_data):
    expected = corpus().words(())
    folder = nltk_data / "corpora"
    shutil.make_archive(str(folder / "wordnet"), "zip", folder, "wordnet")
    shutil.rmtree(folder / "wordnet")
    assert corpus().words(()) == expected


def test_the_count_is_checked(nltk_data, caplog):
    corpus(expected_count=7).words(())
    assert not caplog.records
    corpus(expected_count=8).words(())
    assert "wordnet (eng) holds 7 words; corpus.expected_count is 8" in caplog.text


def test_what_is_missing_comes_with_the_command(nltk_data):
    with pytest.raises(UserError, match=r"corpus\.language must be one of eng, fra, slk; got 'xyz'"):
        corpus(language="xyz").words(())
    with pytest.raises(UserError, match=r"`python -m nltk\.downloader wordnet31`"):
        corpus("wordnet31").words(())
    shutil.rmtree(nltk_data / "corpora" / "omw-1.4")
    with pytest.raises(UserError, match=r"`python -m nltk\.downloader wordnet omw-1\.4`"):
        corpus(language="fra").words(())


@pytest.mark.parametrize(("name", "content"), [("index.noun", "cat n nonsense\n"), ("lexnames", None)])
def test_damaged_data(nltk_data, name, content):
    path = nltk_data / "corpora" / "wordnet" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"must be data that nltk can read"):
        corpus().words(())


def test_a_broken_archive(nltk_data):
    """As an interrupted download leaves it."""
    shutil.rmtree(nltk_data / "corpora" / "wordnet")
    (nltk_data / "corpora" / "wordnet.zip").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(UserError, match=r"must be data that nltk can read"):
        corpus().words(())


def test_the_yaml_is_wordnet_in_english(nltk_data):
    assert len(instantiate(compose(["corpus=nltk_wordnet"]).corpus).words(())) == 7
