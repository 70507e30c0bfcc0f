import pytest
from hydra.utils import instantiate

from neglab.compose import compose
from neglab.corpus.pos_tags import PosTagsCorpus
from neglab.types import UserError

# As Kaggle's file: pandas wrote its row numbers into a first column without a name.
TABLE = ",word,pos_tag\n0,aardvark,NN\n1,aahed,VBN\n2,abacterial,JJ\n3,aas,NNS\n4,abc,XYZ\n5,,NN\n"


@pytest.fixture
def corpus(tmp_path):
    def make(content, name="words_pos.csv", **changes):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        knobs = {
            "columns": ["word", "pos_tag"], "nouns": ["NN", "NNS"], "adjectives": ["JJ"], "num_words": None,
            "expected_count": None,
        }  # fmt: skip
        return PosTagsCorpus(str(tmp_path / name), "words_pos.csv", **{**knobs, **changes}, seed=0)

    return make


def test_nouns_and_adjectives_stand_in_the_order_of_the_file(corpus):
    words = corpus(TABLE).words(())
    assert words.names == ("aardvark", "abacterial", "aas")
    assert words.parts_of_speech == ("noun", "adjective", "noun")


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("\ufeffpos_tag; word ,word,pos_tag\r\n\r\nx, cat ,NN\r\n  \r\nx,big,JJ\r\nx,cat,JJ\r\n", ["word", "pos_tag"]),
        ('JJ,"cat, big",NN\nJJ,big,JJ\n', [1, 2]),
        ("cat,x,NN\nbig,y,JJ\nrun,z,VB", [0, 2]),
    ],
)
def test_other_tables(corpus, content, columns):
    words = corpus(content, columns=columns).words(())
    assert words.names in (("cat", "big"), ("cat, big", "big"))
    assert words.parts_of_speech == ("noun", "adjective")


def test_tags_are_options(corpus):
    words = corpus(TABLE, nouns=["XYZ"], adjectives=["VBN"]).words(())
    assert (words.names, words.parts_of_speech) == (("aahed", "abc"), ("adjective", "noun"))


def test_the_draw_is_over_nouns_and_adjectives_together(corpus):
    table = "word,pos_tag\n" + "".join(f"w{i},{('NN', 'JJ', 'VB')[i % 3]}\n" for i in range(300))
    words = corpus(table, num_words=50).words(())
    assert len(words) == 50 and set(words.parts_of_speech) == {"noun", "adjective"}
    assert words == corpus(table, num_words=50).words(())


def test_all_words_are_counted(corpus, caplog):
    corpus(TABLE, expected_count=6).words(())
    assert not caplog.records
    corpus(TABLE, expected_count=7).words(())
    assert "words_pos.csv holds 6 words; corpus.expected_count is 7" in caplog.text


def test_a_plain_list_is_tagged_by_nltk(corpus, nltk_data):
    words = corpus("frog\r\n\nof\nhopeful\nfrog\n", columns=None, expected_count=4).words(())
    assert (words.names, words.parts_of_speech) == (("frog", "hopeful"), ("noun", "adjective"))


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("cat,NN\n", {}, r"lacks word and pos_tag\. Set corpus\.columns"),
        ("", {}, "lacks word and pos_tag"),
        ("word,pos_tag\ncat,NN\nbig\n", {}, r"line 3 is \['big'\]"),
        (TABLE, {"nouns": ["NOUN"], "adjectives": []}, r"\(NOUN\); its tags are JJ, NN, NNS, VBN, XYZ"),
        (TABLE, {"nouns": ["NOUN"], "adjectives": [], "columns": [1, 2]}, "its tags are JJ"),
        ('word,pos_tag\n"cat,NN\n' + "x" * 140_000, {}, "must be a CSV file"),
        (b"word,pos_tag\ncaf\xe9,NN\n", {}, "line 2 is not"),
        (TABLE, {"columns": ["word"]}, "must be two"),
    ],
)
def test_mistakes(corpus, content, changes, message):
    with pytest.raises(UserError, match=message):
        corpus(content, **changes).words(())


@pytest.mark.parametrize(
    ("key", "value"),
    [*(("columns", value) for value in ("3", "[1.5,null]", "[-1,2]", "word"))]
    + [("num_words", value) for value in ("0", "many", "2.5", "[3]")],
)
def test_values_of_another_kind_are_refused(key, value):
    with pytest.raises(UserError, match=rf"^corpus\.{key}.* must be "):
        compose(["corpus=pos_tags", f"corpus.{key}={value}"])


def test_a_missing_tagger_is_named_with_the_command(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("nltk.data.path", [str(tmp_path)])
    with pytest.raises(UserError, match=r"python -m nltk\.downloader averaged_perceptron_tagger_eng"):
        corpus("cat\n", columns=None).words(())


@pytest.mark.parametrize(
    ("option", "name", "num_words", "count"),
    [("pos_tags", "words_pos.csv of ruchi798", 70_000, 370_102), ("common_20k", "20,000 common", None, 20_000)],
)
def test_the_yamls_name_the_file_that_is_missing(option, name, num_words, count, monkeypatch):
    monkeypatch.setenv("NEGLAB_DATA", "/nowhere")
    corpus = instantiate(compose([f"corpus={option}", "seed.value=7"]).corpus)
    assert (corpus.num_words, corpus.expected_count, corpus.seed) == (num_words, count, 7)
    assert set(corpus.kinds) == {"NN", "NNS", "NNP", "NNPS", "JJ", "JJR", "JJS"}
    with pytest.raises(UserError, match=rf"corpus\.path must be .*{name}.*; got /nowhere/corpora/"):
        corpus.words(())


def test_phrases_of_csp_can_be_made_from_it(tmp_path):
    (tmp_path / "words.csv").write_text("word,pos_tag\ncat,NN\nrocky,JJ\n")
    overrides = ["corpus=csp", "corpus@corpus.words=pos_tags", "~corpus.words.exclude", "corpus.words.num_words=null"]
    words = instantiate(compose([*overrides, f"corpus.words.path={tmp_path}/words.csv"]).corpus).words(())
    assert words.names == ("cat", "rocky creature")
