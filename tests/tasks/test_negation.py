import pytest
from fakes import read_csv

from neglab.compose import compose
from neglab.tasks.negation import run
from neglab.types import UserError


@pytest.fixture
def overrides(overrides):
    """There is neither corpus nor logger."""
    return [text for text in overrides if not text.startswith(("corpus", "logger", "data.score"))]


def test_it_leaves_tables_and_pictures(overrides, tmp_path):
    own = run(compose(overrides, command="negation", output=tmp_path))
    rows = read_csv(tmp_path / "negation.csv")
    assert [(row["dataset"], row["num_images"]) for row in rows] == [("id", "12"), ("image_folder", "5")] * 3
    assert float(rows[0]["own"]) == pytest.approx(own, abs=1e-6)
    assert rows[1]["own"] == "nan"
    assert rows[0]["negated_template"] == "not a photo of a {}"
    classes = read_csv(tmp_path / "negation_classes.csv")
    assert len(classes) == 3 * 2 * 3
    assert {int(row["prefer_negated"]) + int(row["prefer_plain"]) for row in classes} == {12, 5}
    for name in ("negation", "negation_classes"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_ood_sets_are_not_needed(overrides, tmp_path):
    config = compose(overrides, command="negation", output=tmp_path)
    config.ood_datasets = None
    run(config)
    assert {row["dataset"] for row in read_csv(tmp_path / "negation.csv")} == {"id"}


@pytest.mark.parametrize("pairs", ["[]", "[['a photo of a {}']]", "[['a {}', 'not']]"])
def test_pairs_must_be_templates(overrides, tmp_path, pairs):
    with pytest.raises(UserError, match=r"negation\.pairs"):
        run(compose([*overrides, f"negation.pairs={pairs}"], command="negation", output=tmp_path))
