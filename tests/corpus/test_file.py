import pytest

from neglab.corpus.file import FileCorpus
from neglab.types import UserError


def test_a_plain_list_keeps_its_order(tmp_path):
    (tmp_path / "labels.txt").write_text("zebra crossing\n\n apple \nzebra crossing\n")
    words = FileCorpus(str(tmp_path / "labels.txt")).words(())
    assert words.names == ("zebra crossing", "apple")
    assert words.parts_of_speech == ("noun", "noun")


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
