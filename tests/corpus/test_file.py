import pytest

from neglab.corpus.file import FileCorpus
from neglab.types import UserError


def test_a_plain_list_keeps_its_order(tmp_path):
    (tmp_path / "labels.txt").write_text("zebra crossing\n\n apple \nzebra crossing\n")
    words = FileCorpus(str(tmp_path / "labels.txt")).words(())
    assert words.names == ("zebra crossing", "apple")
    assert words.parts_of_speech == ("noun", "noun")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("labels.txt", "noun"),
        ("adj.all.txt", "adjective"),
        ("initial_neg_labels_adj.txt", "adjective"),
        ("My Adjectives.txt", "adjective"),
        ("adjacent.txt", "noun"),
        ("noun.act.txt", "noun"),
    ],
)
def test_the_name_of_a_text_file_says_what_it_holds_and_that_is_said(tmp_path, caplog, name, kind):
    (tmp_path / name).write_text("deep\nred\ngreen\n")
    with caplog.at_level("WARNING"):
        assert FileCorpus(str(tmp_path / name)).words(()).parts_of_speech == (kind,) * 3
    assert f"{name}: 3 labels, all taken as {kind}s" in caplog.text


def test_several_files_follow_one_another(tmp_path, caplog):
    for name, content in (("b_noun.txt", "cat\nred\n"), ("a_adj.txt", "red\ndeep\n"), ("c.csv", 'label\n"x, y"\n')):
        (tmp_path / name).write_text(content)
    words = FileCorpus([f"{tmp_path}/b_noun.txt", f"{tmp_path}/a_adj.txt", f"{tmp_path}/c.csv"]).words(())
    assert words.names == ("cat", "red", "deep", "x, y")
    assert words.parts_of_speech == ("noun", "noun", "adjective", "noun")
    assert "1 labels of corpus.path are repeated" in caplog.text


def test_a_runs_csv_keeps_parts_of_speech(tmp_path):
    rows = 'rank,label,part_of_speech,similarity,synset\n1,"a, b",noun,0.1,00001740-n\n2,red,adjective,0.2,\n'
    (tmp_path / "negative_labels.csv").write_text(rows)
    words = FileCorpus(str(tmp_path / "negative_labels.csv")).words(())
    assert words.names == ("a, b", "red")
    assert words.parts_of_speech == ("noun", "adjective")
    assert words.synsets == ("00001740-n", None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "must be a file of labels"),
        ("empty.txt", b"\n\n", "must hold at least one label"),
        ("latin.txt", b"caf\xe9\n", "must be UTF-8"),
        ("table.csv", b"word,kind\ncat,noun\n", "must have a column `label`"),
        ("table.csv", b"label,part_of_speech\nrun,verb\n", "must be noun or adjective"),
        ("table.csv", b"label,part_of_speech\ncat,noun\nnice, france,noun\n", "as many cells as the header; line 3"),
        ("table.csv", b"label,part_of_speech\ncat\n", "as many cells as the header; line 2"),
        ("table.csv", b"label,part_of_speech\n ,noun\n", "must have a label; line 2"),
        ("table.csv", b"label,synset\ncat,n02121620\n", "must be an id of WordNet 3.1, such as 02086723-n"),
        ("table.csv", b'label\n"cat"fish\n', "must be a CSV file; near line 1"),
    ],
)
def test_mistakes(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        FileCorpus(str(tmp_path / name)).words(())


def test_a_field_that_is_too_long_for_csv(tmp_path):
    (tmp_path / "labels.csv").write_text(f"label\n{'a' * 200_000}\n")
    with pytest.raises(UserError, match="must be a CSV file; near line 1: field larger than field limit"):
        FileCorpus(str(tmp_path / "labels.csv")).words(())


def test_a_list_of_prompts_is_taken_without_them(tmp_path, caplog):
    """As NegLabel's labels were released: to prompt "the nice kite" again would make another text of it."""
    (tmp_path / "labels.txt").write_text("the nice kite\nThe nice sea lion.\nThis is a rusty photo\n" * 7 + "sand\n")
    words = FileCorpus(str(tmp_path / "labels.txt")).words(())
    assert words.names == ("kite", "sea lion", "rusty", "sand")
    assert words.parts_of_speech == ("noun", "noun", "adjective", "noun")
    assert "21 of 22 labels" in caplog.text and "'the nice kite'" in caplog.text


def test_a_few_labels_that_look_like_prompts_stay(tmp_path):
    (tmp_path / "labels.txt").write_text("the nice guys\nkite\nsand\n")
    assert FileCorpus(str(tmp_path / "labels.txt")).words(()).names == ("the nice guys", "kite", "sand")
