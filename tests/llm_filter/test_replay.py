"""Replay of official logs (lines as in NegRefine's released output) and of our own answers."""

import json
import logging

import pytest
from fakes import NoEncoder, TextVectors, named
from hydra.utils import instantiate

from neglab.chat.answers import AnswerStore
from neglab.compose import compose
from neglab.llm_filter.base import QuestionFilter, proper_noun_question, subcategory_question
from neglab.llm_filter.replay import ReplayFilter
from neglab.types import UserError

CLASSES = ("daisy", "collie", "missile", "missile")


def log_lines(*lines):
    """Each official line ends with a space."""
    return "".join(f"{line} \n" for line in lines)


FOOTER = "-" * 45 + "\nn_proper: 1\nn_same: 1\nn_subcatgeory: 2\n"
NOUNS = log_lines(
    "white currant | daisy |",
    "white currant | collie |",
    "white currant | missile |",
    "biosafety level  | missile |",
    "biosafety level  | collie |",
    "biosafety level  | daisy |",
    "genus ginkgo | proper noun",
    "smooth aster | daisy | subcategory",
    "collie | daisy |",
    "collie | collie | the same",
    "cruise weapon | missile |",
    "cruise weapon | missile | subcategory",
    "shepherds purse | collie |",
    "shepherds purse | daisy |",
    "shepherds purse | missile |",
)
ADJECTIVES = log_lines(
    "white currant | collie |",
    "white currant | daisy |",
    "white currant | missile |",
    "wildcat pattern | daisy | subcategory",
)
NAMES = ("shepherd's purse", "collie", "genus ginkgo", "white currant", "smooth aster", "biosafety level 4")
NAMES = (*NAMES, "cruise weapon", "biosafety level 2")
ADJECTIVE_NAMES = ("wildcat pattern", "white currant")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "llm_process_noun.txt").write_text(NOUNS + FOOTER)
    (tmp_path / "llm_process_adj.txt").write_text(ADJECTIVES + FOOTER)
    return tmp_path


def replay(path, negatives=None, missing="error", num_nearest=3, classes=CLASSES):
    negatives = named(NAMES, ADJECTIVE_NAMES) if negatives is None else negatives
    return ReplayFilter(str(path), missing, num_nearest, 0.05).apply(negatives, named(classes), NoEncoder())


def test_an_official_log_gives_its_labels_in_its_order(folder):
    result = replay(folder)
    assert result.names == ("white currant", "biosafety level ", "shepherds purse", "white currant")
    assert result.positions.tolist() == [3, 5, 0, 9]
    assert [row["reason"] for row in result.verdicts] == [
        "",
        "the same",
        "proper noun",
        "",
        "subcategory",
        "",
        "subcategory",  # asked twice about one class: No, then Yes
        "merged",
        "subcategory",
        "",
    ]
    assert result.verdicts[1]["class"] == "collie" and result.verdicts[4]["class"] == "daisy"
    assert result.verdicts[0] == {
        "label": "shepherd's purse",
        "name": "shepherds purse",
        "verdict": "kept",
        "reason": "",
        "class": "",
        "unclear": "0",
    }


def test_one_file_judges_its_part_of_speech(folder):
    assert replay(folder / "llm_process_noun.txt", named(NAMES)).positions.tolist() == [3, 5, 0]
    assert replay(folder / "llm_process_adj.txt", named((), ADJECTIVE_NAMES)).positions.tolist() == [1]
    with pytest.raises(UserError, match="2 labels lack some, such as 'wildcat pattern'"):
        replay(folder / "llm_process_noun.txt")
    renamed = folder / "llm_process_first.txt"
    renamed.write_text(NOUNS)
    # Which part of speech it is about is not said, so it is about all.
    result = replay(renamed, named(NAMES, ("white currant",)))
    assert result.positions.tolist() == [3, 8, 5, 0]


def test_the_number_of_asked_classes_must_be_whole(folder):
    with pytest.raises(UserError, match=r"4 labels lack some, such as 'shepherds purse', 'white currant'"):
        replay(folder, num_nearest=10)  # four classes here, three in the log
    assert len(replay(folder, num_nearest=10, classes=CLASSES[:3]).names) == 4  # no more than there are


def test_a_log_cut_short(folder, caplog):
    path = folder / "llm_process_noun.txt"
    path.write_text(NOUNS[: NOUNS.index("shepherds purse | daisy") + 15])
    with pytest.raises(UserError, match="1 labels lack some, such as 'shepherds purse'"):
        replay(folder)
    with caplog.at_level(logging.WARNING):
        kept, dropped = replay(folder, missing="keep"), replay(folder, missing="drop")
    assert "ends in the middle of a line" in caplog.text and "1 labels lack an answer" in caplog.text
    assert kept.positions.tolist() == [3, 5, 0, 9] and dropped.positions.tolist() == [3, 5, 9]
    assert (kept.verdicts[0]["verdict"], kept.verdicts[0]["reason"]) == ("kept", "no answer")
    assert (dropped.verdicts[0]["verdict"], dropped.verdicts[0]["reason"]) == ("dropped", "no answer")


def test_a_cut_line_that_still_looks_whole_is_not_believed(folder):
    path = folder / "llm_process_noun.txt"
    path.write_text(NOUNS + "red daisy | collie | \nred daisy | missile | \nred daisy | daisy | subcategory "[:-12])
    with pytest.raises(UserError, match="'red daisy'"):
        replay(folder, named([*NAMES, "red daisy"], ADJECTIVE_NAMES))


def test_labels_without_an_answer(folder, caplog):
    negatives = named(["zebra crossing", *NAMES, "pillow"], ADJECTIVE_NAMES)
    with pytest.raises(UserError, match="2 labels lack some, such as 'zebra crossing', 'pillow'"):
        replay(folder, negatives)
    with caplog.at_level(logging.WARNING):
        kept = replay(folder, negatives, "keep")
    assert "2 labels lack an answer" in caplog.text
    assert kept.names[-2:] == ("zebra crossing", "pillow") and len(kept.names) == 6
    assert len(replay(folder, negatives, "drop").names) == 4


def test_labels_of_the_log_that_this_run_lacks_are_counted(folder, caplog):
    with caplog.at_level(logging.WARNING):
        assert replay(folder, named(NAMES[:1])).positions.tolist() == [0]
    assert "8 labels of" in caplog.text


def test_trailing_spaces_lost_by_an_editor_change_nothing(folder):
    expected = replay(folder)
    for name, text in (("noun", NOUNS), ("adj", ADJECTIVES)):
        lines = [line.rstrip() for line in text.splitlines()]
        (folder / f"llm_process_{name}.txt").write_text("\r\n".join(lines) + "\r\n")
    assert replay(folder).positions.tolist() == expected.positions.tolist()


def test_everything_dropped_is_an_error(folder):
    with pytest.raises(UserError, match="it dropped all 1"):
        replay(folder, named(["genus ginkgo"]))


def test_files_that_are_none(folder, tmp_path):
    with pytest.raises(UserError, match=r"llm_filter\.path must be a file of answers.*No such file"):
        replay(tmp_path / "nowhere")
    (folder / "foreign.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"must be a log of NegRefine's filter .* line 1 is 'cat'"):
        replay(folder / "foreign.txt")
    (folder / "footer.txt").write_text(FOOTER)
    with pytest.raises(UserError, match="holds no label"):
        replay(folder / "footer.txt")
    (folder / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match="it is empty"):
        replay(folder / "empty.txt")
    (folder / "latin.txt").write_bytes(b"caf\xe9 | proper noun \n")
    with pytest.raises(UserError, match="must be UTF-8"):
        replay(folder / "latin.txt")
    (folder / "foreign.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(UserError, match="it holds none"):
        replay(folder / "foreign.jsonl")
    (folder / "llm_process_adj.txt").unlink()
    with pytest.raises(UserError, match=r"llm_process_adj\.txt cannot be read"):
        replay(folder)
    with pytest.raises(UserError, match=r"llm_filter\.missing must be"):
        replay(folder, missing="maybe")


def says_yes(question):
    return (question.label, question.class_name) in {("zork", None), ("aster", "daisy")}


@pytest.fixture
def answers(tmp_path):
    """Our own file of answers about three labels and three classes."""
    store = AnswerStore(tmp_path, {"model": "m", "revision": "r"})
    for label in ("sand", "aster", "zork"):
        questions = [proper_noun_question(label), *(subcategory_question(label, name) for name in CLASSES)]
        for question in questions:
            store.append(question, "Yes." if says_yes(question) else "No.")
    return store.path


def ours(path, names, missing="error", classes=CLASSES):
    return ReplayFilter(str(path), missing, 10, 0.05).apply(named(names), named(classes), TextVectors())


def test_our_answers_are_replayed_question_by_question(answers):
    names = ("aster", "sand", "daisy", "zork")
    with pytest.raises(UserError, match="1 labels lack"):
        ours(answers, ("aster", "sand", "pillow", "zork"))
    result = ours(answers, ("aster", "sand", "zork"))
    assert result.positions.tolist() == [1]
    live = QuestionFilter(lambda asked: {q: "Yes" if says_yes(q) else "No" for q in asked}, 10, 0.05)
    expected = live.apply(named(names[:2] + names[3:]), named(CLASSES), TextVectors())
    assert result.verdicts == expected.verdicts
    with pytest.raises(UserError, match="1 labels lack some, such as 'sand'"):
        ours(answers, ("aster", "sand", "zork"), classes=(*CLASSES, "new class"))
    assert ours(answers, ("pillow", "sand"), "keep").positions.tolist() == [0, 1]
    assert ours(answers, ("pillow", "sand"), "drop").positions.tolist() == [1]


def test_our_answers_count_whatever_the_wording_and_damaged_lines_do_not(answers, tmp_path, caplog):
    rows = [{**json.loads(line), "question": "other words"} for line in answers.read_text().splitlines()]
    path = tmp_path / "copy.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"kind": "prop')
    with caplog.at_level(logging.WARNING):
        assert ours(path, ("aster", "sand", "zork")).positions.tolist() == [1]
    assert "1 lines of" in caplog.text
    assert path.read_text().endswith('{"kind": "prop')  # a recording is never written to


def test_the_shipped_config_builds(folder):
    config = compose(["llm_filter=replay", f"llm_filter.path={folder}", "llm_filter.num_nearest=3"])
    result = instantiate(config.llm_filter).apply(named(NAMES, ADJECTIVE_NAMES), named(CLASSES), NoEncoder())
    assert result.positions.tolist() == [3, 5, 0, 9]
