"""Every corpus that reads a user's file goes through a whole run."""

import csv

import pytest

from neglab.compose import compose
from neglab.tasks.evaluate import run

FILES = {
    "pos_tags": "word,pos_tag\n" + "".join(f"{kind}{i},{kind}\n" for i in range(8) for kind in ("NN", "JJ", "VB")),
    "common_20k": "".join(f"word{i}\nwordful{i}ful\n" for i in range(8)),
    "wikipedia_titles": "page_title\n" + "".join(f"Title_{i}\n" for i in range(16)),
    "nltk_wordnet": None,
}


@pytest.mark.parametrize("option", FILES)
def test_a_run_chooses_its_negatives_from_the_corpus(option, overrides, nltk_data, tmp_path):
    corpus = [f"corpus={option}"]
    if content := FILES[option]:
        (tmp_path / "words").write_text(content)
        corpus += [f"corpus.path={tmp_path}/words", "corpus.expected_count=null", "corpus.num_words=null"]
    kept = [override for override in overrides if not override.startswith("corpus")]
    fraction = ["negative_selector.fraction=0.5", "score.num_groups=2", "plots=false"]
    assert 0 <= run(compose([*kept, *corpus, *fraction], output=tmp_path)) <= 1
    with (tmp_path / "negative_labels.csv").open(newline="") as file:
        kinds = [row["part_of_speech"] for row in csv.DictReader(file)]
    expected = {"pos_tags": (4, 4), "common_20k": (4, 4), "wikipedia_titles": (8, 0), "nltk_wordnet": (2, 1)}[option]
    assert (kinds.count("noun"), kinds.count("adjective")) == expected
