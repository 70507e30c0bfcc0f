import re
from pathlib import Path

import fakes
import pytest
from omegaconf import open_dict
from PIL import Image
from pyarrow import parquet

from neglab import places
from neglab.compose import compose
from neglab.detector import Detector
from neglab.detector.predictions import Prediction
from neglab.tasks.detect import cards, run
from neglab.types import UserError


@pytest.fixture
def photos(tmp_path):
    """Twelve pictures at two depths, and one that is broken."""
    fakes.write_pictures(tmp_path / "photos" / "deep", 12, seed=3)
    (tmp_path / "photos" / "broken <1>.jpg").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def config(overrides, photos, tmp_path):
    """The config of a run in a new folder."""
    shared = [text for text in overrides if not text.startswith(("id_dataset", "ood_datasets"))]

    def make(*more, names="class_names=[cat,dog]", mining=("negative_selector.fraction=0.5", "score.num_groups=4")):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        folder.mkdir()
        return compose([*shared, f"images={photos}", names, *mining, *more], "detect", folder)

    return make


def test_a_run_leaves_its_tables_and_the_sheet(config, photos, tmp_path, capsys):
    run(config())
    rows = fakes.read_csv(tmp_path / "run0" / "detections.csv")
    scores = [float(row["id_score"]) for row in rows[:-1]]
    assert len(rows) == 13 and scores == sorted(scores)
    assert [row["is_ood"] for row in rows[:-1]] == [str(score < 0.5) for score in scores]
    assert {row["predicted_class"] for row in rows[:-1]} <= {"cat", "dog"}
    assert all(row["negative_label"].startswith("word number") and row["error"] == "" for row in rows[:-1])
    assert rows[-1]["path"] == f"{photos}/broken <1>.jpg" and "cannot identify" in rows[-1]["error"]
    page = (tmp_path / "run0" / "contact_sheet.html").read_text()
    assert page.count("<img ") == 12
    printed = capsys.readouterr().out
    assert "12 images: " in printed and "neutral value" in printed and "Unreadable: 1" in printed


def test_table_page_and_log_say_which_model_judged(config, tmp_path, capsys, caplog):
    with open_dict(given := config()):
        given.backbone.caution = "it has seen three cats"
    run(given)
    model = given.backbone.model.rsplit("/", 1)[-1]
    printed, page = capsys.readouterr().out, (tmp_path / "run0" / "contact_sheet.html").read_text()
    assert f"Model {model}" in printed and f"Model {model}" in page
    assert "it has seen three cats" in page and "it has seen three cats" in caplog.text
    assert "three cats" not in printed  # said once: the log stands beside it


@pytest.mark.parametrize("method", [None, "glmcm"])  # glmcm: with the patches behind the embeddings
def test_the_scores_are_those_of_the_python_face(config, photos, tmp_path, method):
    save = "save=" + str(tmp_path / "saved")
    run(config(save) if method is None else config(save, f"method={method}", mining=()))
    detector = Detector.load(tmp_path / "saved", "cpu")
    rows = fakes.read_csv(tmp_path / "run0" / "detections.csv")[:-1]
    expected = detector.score([row["path"] for row in rows]).tolist()
    assert [float(row["id_score"]) for row in rows] == pytest.approx(expected, abs=1e-6)


def test_parquet_holds_the_same(config, tmp_path):
    run(config())
    table = parquet.read_table(tmp_path / "run0" / "detections.parquet").to_pylist()
    rows = fakes.read_csv(tmp_path / "run0" / "detections.csv")
    assert [row["id_score"] for row in table[:-1]] == [float(row["id_score"]) for row in rows[:-1]]
    assert isinstance(table[0]["is_ood"], bool) and table[-1]["is_ood"] is None


def test_calibrate_save_and_run_again(config, tmp_path, capsys):
    fakes.write_pictures(tmp_path / "mine", 30, seed=8)
    run(config(f"id_images={tmp_path}/mine", "id_acceptance=0.9", "margin=0.5", f"save={tmp_path}/saved"))
    assert "accepts 27 of 30 ID images" in capsys.readouterr().out
    run(config(f"detector={tmp_path}/saved", names="class_names=null"))
    assert "accepts 27 of 30 ID images" in capsys.readouterr().out
    first, second = (fakes.read_csv(tmp_path / name / "detections.csv") for name in ("run0", "run1"))
    assert first == second
    run(config("threshold=0.7"))
    assert "ID score 0.7000: set by hand" in capsys.readouterr().out


def test_images_that_the_method_learned_from_do_not_calibrate_it(config, benchmark, tmp_path, capsys):
    mine = tmp_path / "mine"
    for seed, name in enumerate(("cat", "dog")):
        fakes.write_pictures(mine / name, 15, seed=40 + seed)
    run(
        config(
            "method=knn", f"id_images={mine}", "id_images.num_per_class=5", "id_acceptance=0.9", "margin=0.5", mining=()
        )
    )
    assert " of 20 ID images" in capsys.readouterr().out


def test_an_adaptive_method_meets_the_images_in_the_streams_order(config, tmp_path):
    for seed in (0, 0, 1):
        run(config("method=clipscope", "negative_selector=all", f"stream.seed={seed}", mining=()))
    first, again, other = ((tmp_path / f"run{i}" / "detections.csv").read_bytes() for i in range(3))
    assert first == again != other


def test_the_sheet_shows_at_most_so_many(config, tmp_path):
    run(config("num_thumbnails=5"))
    page = (tmp_path / "run0" / "contact_sheet.html").read_text()
    assert page.count("<img ") == 5 and "Shown are 5 of 12: those around the threshold" in page


def test_a_turned_photo_scores_as_it_stands(config, photos, tmp_path):
    """A benchmark's reading would score the pixels as they lie."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "deep" / "picture00.png") as picture:
        picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    run(config())
    run(config(f"images={tmp_path}/turned.png"))
    run(config(f"images={tmp_path}/turned.png", "upright=false"))
    upright, turned, as_it_lies = (fakes.read_csv(tmp_path / f"run{i}" / "detections.csv") for i in range(3))
    (expected,) = (row["id_score"] for row in upright if row["path"].endswith("picture00.png"))
    assert float(turned[0]["id_score"]) == pytest.approx(float(expected), abs=1e-6)
    assert float(as_it_lies[0]["id_score"]) != pytest.approx(float(expected), abs=1e-6)


def test_a_single_photo_of_other_modes(config, tmp_path):
    Image.new("LA", (50, 40)).save(tmp_path / "grey.png")
    run(config(f"images={tmp_path}/grey.png"))
    assert len(fakes.read_csv(tmp_path / "run0" / "detections.csv")) == 1


def test_all_that_pillow_opens_is_judged_and_the_rest_counted(config, tmp_path, caplog):
    for ending in ("tga", "jp2", "jfif", "pcx"):
        Image.new("RGB", (50, 40)).save(tmp_path / "photos" / f"strange.{ending}")
    Image.new("RGB", (50, 40)).save(tmp_path / "photos" / "strange.avif")
    for name in ("clip.mp4", "Clip.MP4", "notes.txt"):
        (tmp_path / "photos" / name).write_bytes(b"")
    run(config())
    judged = {Path(row["path"]).name for row in fakes.read_csv(tmp_path / "run0" / "detections.csv") if row["id_score"]}
    assert {"strange.tga", "strange.jp2", "strange.jfif", "strange.pcx", "strange.avif"} <= judged
    assert re.search("files below .*photos are no images: 2 .mp4, 1 .txt", caplog.text)


def test_the_photos_of_telephones_are_judged(config, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), "red")).save(tmp_path / "photos" / "phone.heic")
    run(config())
    (row,) = (row for row in fakes.read_csv(tmp_path / "run0" / "detections.csv") if row["path"].endswith("phone.heic"))
    assert row["id_score"] and not row["error"]


def test_mistakes(config, tmp_path):
    (tmp_path / "empty").mkdir()
    fakes.write_pictures(tmp_path / "few", 3)
    for arguments, message in (
        ([f"images={tmp_path}/nowhere"], "images must be a folder of images, or one image"),
        ([f"images={tmp_path}/empty"], "images must hold at least one image"),
        ([f"images={tmp_path}/photos/broken <1>.jpg"], "At least one image must be readable"),
        ([f"id_images={tmp_path}/few"], "needs at least 20 ID images"),
        ([f"id_images={tmp_path}/empty"], "id_images must hold at least one image"),
        (["detector=saved"], "detector= or class_names=, not both"),
        (["class_names=null"], "class_names must be a list of names"),
        (["threshold=high"], "threshold must be a valid number; got 'high'"),
        (["num_thumbnails=-3"], "num_thumbnails must be greater than or equal to 0; got -3"),
        (["margin=wide"], "margin must be a valid number; got 'wide'"),
    ):
        quoted = [
            f"{key}='{value}'" for key, _, value in (text.partition("=") for text in arguments) if key == "images"
        ]
        with pytest.raises(UserError, match=message):
            run(config(*(quoted or arguments)))


def test_as_a_user_types_it(neglab, tmp_path, photos):
    (tmp_path / "classes.txt").write_text("fire engine\nsushi\n")
    options = ["method=maxlogit", "trainer=cpu", "trainer.progress_bar=false", "data.num_workers=0"]
    finished = neglab("detect", "images=photos/", "class_names=classes.txt", "threshold=7", *options)
    assert finished.returncode == 0, finished.stderr
    assert "Most like OOD" in finished.stdout and "ID score 7.0000: set by hand" in finished.stdout
    (table,) = tmp_path.glob("outputs/*/*/detections.csv")
    assert {row["predicted_class"] for row in fakes.read_csv(table)} <= {"fire engine", "sushi", ""}


def test_a_path_is_not_parsed_again(photos, monkeypatch):
    """What is typed is: `~` and `s3://` mean something there, and nothing in the name of a file that was found."""
    place = next(iter((photos / "deep").iterdir()))
    monkeypatch.setattr(places, "place_of", None)
    found = Prediction(0.5, False, *[None] * 6, path=str(place))
    assert [card.link for card in cards([found], [photos / "other.png", place])] == [place.as_uri()]
