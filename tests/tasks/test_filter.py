"""`neglab filter`, and the line of the documentation that replays the authors' log."""

import json
import re
import shlex
from pathlib import Path

import pytest
from fakes import read_csv

from neglab.compose import compose
from neglab.data.imagenet import NAMES
from neglab.embedding.embedder import Embedder
from neglab.tasks.filter import run
from neglab.types import UserError

PAGE = Path(__file__).parents[2] / "docs/how-to/filter.md"
CLASSES = list(NAMES.values())[:10]
NOUNS = {"teapot lid": "", "genus ginkgo": "proper noun", "biplane 52": "", "small tench": "subcategory"}
ADJECTIVES = {"deep space": "", "wildcat pattern": "subcategory"}


def released(folder):
    """NegRefine's released files in miniature: initial labels and the log of their answers."""
    for kind, labels in (("noun", NOUNS), ("adj", ADJECTIVES)):
        (folder / f"initial_neg_labels_{kind}.txt").write_text("".join(f"{label}\n" for label in labels))
        lines = []
        for label, reason in reversed(labels.items()):  # the authors' order is not that of the list
            name = label.replace("5", "").replace("2", "")
            if reason == "proper noun":
                lines.append(f"{name} | proper noun \n")
            else:
                lines += [f"{name} | {one} | \n" for one in CLASSES[:9]]
                lines.append(f"{name} | {CLASSES[9]} | {reason} \n")
        (folder / f"llm_process_{kind}.txt").write_text("".join(lines))


@pytest.fixture
def filtered(tmp_path, monkeypatch):
    """Runs the command on overrides; no image is read, and by default nothing is encoded."""

    def encode(self, texts):
        raise AssertionError("nothing is to be encoded")

    monkeypatch.setattr(Embedder, "__init__", encode)

    def start(*overrides):
        run(compose(overrides, "filter", tmp_path))
        return read_csv(tmp_path / "negative_labels.csv"), read_csv(tmp_path / "filter_verdicts.csv")

    return start


def test_the_documented_line_replays_the_authors_log_as_typed(neglab, tmp_path):
    released(tmp_path)
    (line,) = re.findall(r"^(neglab filter .*llm_filter=replay.*?)(?:  +#.*)?$", PAGE.read_text(), flags=re.MULTILINE)
    finished = neglab(*shlex.split(line)[1:])
    assert finished.returncode == 0, finished.stderr
    assert "2 of 4 nouns go on, 1 of 2 adjectives go on; dropped: 2 subcategory, 1 proper noun" in finished.stdout
    (folder,) = tmp_path.glob("outputs/*/*")
    rows = read_csv(folder / "negative_labels.csv")
    expected = [("biplane ", "noun"), ("teapot lid", "noun"), ("deep space", "adjective")]
    assert [(row["label"], row["part_of_speech"]) for row in rows] == expected


def test_wordnet_judges_by_class_names_alone(filtered, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("poodle\nteapot\nLisbon\n")
    rows, verdicts = filtered(f"labels={tmp_path}/words.txt", "class_names=[cat,dog]")
    assert [row["label"] for row in rows] == ["teapot"]
    assert [(row["label"], row["reason"], row["class"]) for row in verdicts] == [
        ("poodle", "subcategory", "dog"), ("teapot", "", ""), ("Lisbon", "proper noun", ""),
    ]  # fmt: skip
    assert "1 of 3 nouns go on; dropped: 1 subcategory, 1 proper noun" in capsys.readouterr().out


def test_an_id_set_without_images_names_the_classes(filtered, tmp_path):
    """Its WordNet ids tell the senses: locoweed is no kind of the animal."""
    (tmp_path / "words.csv").write_text("label,part_of_speech,synset\nlocoweed,noun,\nbeagle,noun,\n")
    rows, _ = filtered(f"labels={tmp_path}/words.csv", "id_dataset=imagenet1k", f"paths.data={tmp_path}/none")
    assert [row["label"] for row in rows] == ["locoweed"]
    again, _ = filtered(f"labels={tmp_path}/negative_labels.csv", "id_dataset=imagenet1k")
    assert again == rows


def test_a_filter_that_asks_for_texts_gets_them(tmp_path, tiny_model):
    (tmp_path / "words.txt").write_text("teapot\n")
    model = ["backbone=open_clip", f"backbone.model={tiny_model}", f"paths.store={tmp_path}/store", "trainer=cpu"]
    asked = [("proper_noun", None), ("subcategory", "cat"), ("subcategory", "dog")]
    answers = [
        {"kind": kind, "label": "teapot", "class": name, "question": kind, "answer": "No"} for kind, name in asked
    ]
    (tmp_path / "answers.jsonl").write_text("".join(f"{json.dumps(answer)}\n" for answer in answers))
    replay = ["llm_filter=replay", f"llm_filter.path={tmp_path}/answers.jsonl", "trainer.progress_bar=false"]
    run(compose([*model, *replay, f"labels={tmp_path}/words.txt", "class_names=[cat,dog]"], "filter", tmp_path))
    assert [row["label"] for row in read_csv(tmp_path / "negative_labels.csv")] == ["teapot"]


def test_classes_must_be_named(filtered, tmp_path):
    (tmp_path / "words.txt").write_text("teapot\n")
    with pytest.raises(UserError, match="Set class_names to a list or a file, or choose id_dataset="):
        filtered(f"labels={tmp_path}/words.txt")
