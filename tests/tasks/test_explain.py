import pytest
from fakes import read_csv

from neglab.compose import compose
from neglab.tasks.explain import run
from neglab.types import UserError


def test_the_labels_that_decide_are_written_and_drawn(overrides, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    knobs = ["negative_selector.fraction=0.5", "explain.num_labels=2", "explain.num_examples=3"]
    one_wins = run(compose([*overrides, *knobs], command="explain", output=folder))
    images = read_csv(folder / "image_labels/id.csv")
    assert len(images) == 12
    for row in images:
        assert float(row["class_1_share"]) >= float(row["class_2_share"])
        assert float(row["negative_1_share"]) >= float(row["negative_2_share"])
        assert row["class_1"] in {"cat", "dog", "tree frog"}
        assert row["negative_1"].startswith("word number")
    assert len(read_csv(folder / "image_labels/image_folder.csv")) == 5
    expected = sum(float(row["negative_1_share"]) > float(row["class_1_share"]) for row in images) / 12
    assert one_wins == pytest.approx(expected)
    wins = read_csv(folder / "negative_wins.csv")
    assert len(wins) == 20
    assert [float(row["id_wins"]) for row in wins] == sorted((float(row["id_wins"]) for row in wins), reverse=True)
    rates = read_csv(folder / "error_rates.csv")
    assert float(rates[0]["max_ood"]) + float(rates[0]["sum_ood"]) == 0
    assert {row["num_negatives"] for row in read_csv(folder / "theory.csv")} == {"1", "2", "5", "10", "20"}
    for name in ("examples_id", "examples_image_folder", "error_rates", "theory"):
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_method_without_negatives_has_nothing_to_explain(overrides, tmp_path):
    with pytest.raises(UserError, match="negative labels"):
        run(compose([*overrides, "method=mcm"], command="explain", output=tmp_path))


def test_photos_of_ones_own(overrides, benchmark, tmp_path, capsys):
    """Only they are explained, at the score's temperature; all shares make up the whole."""
    knobs = ["negative_selector.fraction=0.5", "score.temperature=0.05", f"images={benchmark}/far"]
    run(compose([*overrides, *knobs], command="explain", output=tmp_path))
    rows = read_csv(tmp_path / "image_labels/images.csv")
    assert {row["path"] for row in rows} == {str(path) for path in (benchmark / "far").iterdir()}
    assert all(float(row["id_share"]) + float(row["negatives_share"]) == pytest.approx(1, abs=1e-5) for row in rows)
    assert sorted(path.name for path in (tmp_path / "image_labels").iterdir()) == ["images.csv"]
    assert "temperature 0.05" in capsys.readouterr().out and (tmp_path / "examples_images.png").is_file()
