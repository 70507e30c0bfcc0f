import gzip
import logging
import random
import time

import pytest

from neglab.corpus.base import counted, entries_of, lines_of, sample
from neglab.types import UserError


def nouns(names):
    return [(name, "noun", None) for name in names]


def test_a_sample_depends_on_names_and_seed_alone():
    names = [f"word {i}" for i in range(200)]
    drawn = sample(nouns(names), 20, seed=0).names
    assert len(set(drawn)) == 20
    assert list(drawn) == sorted(drawn, key=names.index)
    assert drawn == sample(nouns(names), 20, seed=0).names != sample(nouns(names), 20, seed=1).names
    assert set(drawn) == set(sample(nouns(random.Random(0).sample(names * 3, 600)), 20, seed=0).names)
    assert set(drawn) < set(sample(nouns(names), 40, seed=0).names)


def test_every_name_is_drawn_as_often_as_any():
    names = [str(i) for i in range(10)]
    draws = [name for seed in range(2000) for name in sample(nouns(names), 3, seed).names]
    assert all(draws.count(name) == pytest.approx(600, abs=100) for name in names)  # 5 standard deviations


def test_a_sample_keeps_the_first_part_of_speech():
    words = [("red", "adjective", "1-a"), ("red", "noun", "2-n"), ("cat", "noun", None)]
    for num_words in (None, 2):
        drawn = sample(words, num_words, seed=0)
        assert (drawn.names, drawn.parts_of_speech, drawn.synsets) == (
            ("red", "cat"),
            ("adjective", "noun"),
            ("1-a", None),
        )


def test_a_sample_larger_than_the_corpus_is_all_of_it(caplog):
    assert sample(nouns("aab"), 3, seed=0).names == ("a", "b")
    assert "3 words; there are 2" in caplog.text


@pytest.mark.parametrize(
    ("expected", "warning"), [(None, ""), (2, ""), (5, "f.txt holds 2 words; corpus.expected_count is 5")]
)
def test_counts_are_checked_with_both_numbers(expected, warning, caplog):
    with caplog.at_level(logging.WARNING):
        assert list(counted("ab", expected, "f.txt")) == ["a", "b"]
    assert warning in caplog.text and bool(warning) == bool(caplog.records)


@pytest.mark.parametrize("name", ["words.txt", "words.txt.gz"])
def test_lines_come_without_ends_and_byte_order_mark(tmp_path, name):
    content = "\ufeffcafé\r\n\r\ntwo words\u2028still\nlast".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert list(lines_of(tmp_path / name, "a list")) == ["café", "", "two words\u2028still", "last"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "must be a list; got"),
        ("latin.txt", b"good\ncaf\xe9\n", "line 2 is not"),
        ("utf16.txt", "word\n".encode("utf-16"), "line 1 is not"),
        ("half.txt.gz", gzip.compress(random.Random(0).randbytes(9999).hex().encode())[:-4000], "whole file"),
        ("plain.txt.gz", b"word\n", "whole file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(lines_of(tmp_path / name, "a list"))


def test_empty_lines_cost_next_to_nothing(tmp_path):
    """50 million took half a minute."""
    (tmp_path / "words.txt").write_bytes(b"cat\n" + b"\n" * 2_000_000 + b"dog\n")
    start = time.process_time()
    assert list(entries_of(tmp_path / "words.txt", "a file")) == ["cat", "dog"]
    assert time.process_time() - start < 2
