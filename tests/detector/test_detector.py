"""The Python face, on a tiny model."""

import hashlib
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import fakes
import pytest
import torch
from safetensors.torch import load_file, save

import neglab
from neglab.config_files import long_form
from neglab.detector import Detector
from neglab.detector.saved import DESCRIPTION, FORMAT, TENSORS, read_detector
from neglab.files import Document, digest
from neglab.metrics.explanation import class_share
from neglab.types import UserError

NAMES = ["cat", "dog", "tree frog"]


@pytest.fixture(scope="module")
def settings(tiny_model, benchmark, tmp_path_factory):
    return [
        f"backbone.model={tiny_model}",
        "corpus=file",
        f"corpus.path={benchmark}/words.txt",
        "data.num_workers=0",
        "data.image_batch_size=3",
        "stream.batch_size=4",
        "trainer=cpu",
        "trainer.progress_bar=false",
        f"paths.store={tmp_path_factory.mktemp('store')}",
    ]


MINING = ("negative_selector.fraction=0.5", "score.num_groups=4")


@pytest.fixture(scope="module")
def make(settings):
    def build(*more, method="neglabel", names=NAMES, mining=MINING, **options):
        return Detector.create(names, "open_clip", method, overrides=[*settings, *mining, *more], **options)

    return build


@pytest.fixture
def detector(make):
    return make()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return fakes.write_pictures(tmp_path_factory.mktemp("pictures"), 30, seed=5)


def test_scores_are_those_of_the_score_on_the_bank(detector, pictures):
    scores = detector.score(pictures)
    assert scores.dtype == torch.float64 and scores.shape == (30,)
    assert torch.equal(scores, detector.scorer(detector.embed(pictures), detector.bank))
    assert len(detector.bank.negatives) == 20 and detector.bank.id_labels.names == tuple(NAMES)
    assert torch.equal(detector.score([]), torch.empty(0, dtype=torch.float64))
    assert detector.predict([]) == []


def test_a_prediction_names_what_decided(detector, pictures):
    embeddings, bank = detector.embed(pictures), detector.bank
    labels = torch.cat([bank.id_labels.embeddings, bank.negatives.embeddings])
    shares = (embeddings @ labels.T / 0.01).softmax(dim=1)  # the score's temperature
    assert detector.scorer.share_temperature == 0.01
    scores = detector.score(pictures)
    for i, found in enumerate(detector.predict(pictures)):
        assert found.score == float(scores[i]) and found.is_ood == (found.score < 0.5)
        assert found.predicted_class == NAMES[int(shares[i, :3].argmax())]
        assert found.negative_label == bank.negatives.names[int(shares[i, 3:].argmax())]
        assert found.class_share == pytest.approx(float(shares[i, :3].max()), abs=1e-6)
        assert found.negative_share == pytest.approx(float(shares[i, 3:].max()), abs=1e-6)
        assert found.all_classes_share == pytest.approx(float(shares[i, :3].sum()), abs=1e-6)
        assert found.all_negatives_share == pytest.approx(float(shares[i, 3:].sum()), abs=1e-6)
        assert found.path == str(pictures[i]) and found.error is None


def test_reasons_follow_from_a_score_without_groups(make, pictures):
    """NegLabel's score in one group is the share of all classes."""
    detector = make("score.num_groups=1")
    for found in detector.predict(pictures[:5]):
        assert found.score == pytest.approx(found.all_classes_share, abs=1e-5)


def test_a_broken_photo_stops_nothing(detector, pictures, tmp_path, caplog):
    (tmp_path / "broken.jpg").write_text("no picture")
    mixed = [pictures[0], tmp_path / "broken.jpg", pictures[1]]
    scores = detector.score(mixed)
    assert torch.equal(scores[[0, 2]], detector.score(pictures[:2])) and scores[1].isnan()
    first, broken, _ = detector.predict(mixed)
    assert (first.error, broken.path) == (None, str(mixed[1]))
    assert broken.score is broken.is_ood is broken.predicted_class is None and "cannot identify" in broken.error
    assert detector.calibrate([*pictures, tmp_path], 0.9, margin=0.5).num_images == 30
    assert "1 of 31 images cannot be read, such as" in caplog.text
    with pytest.raises(UserError, match=r"Images must be readable; .*broken\.jpg is not"):
        detector.embed(mixed)


def test_the_bank_is_prepared_once(detector, pictures, monkeypatch):
    calls = []
    monkeypatch.setattr(type(detector.scorer), "prepare", lambda *arguments: calls.append(arguments))
    detector.score(pictures[:2])
    detector.predict(pictures[:2])
    assert not calls


def test_it_says_what_it_is(detector):
    assert repr(detector) == (
        "<Detector of 3 classes (cat, dog, tree frog) by neglabel with model0, 20 negative labels, threshold 0.5000: "
        "the score's neutral value, as much ID as OOD; not calibrated on ID images>"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "neglabl"}, r"no method=neglabl\. Did you mean neglabel\?"),
        ({"backbon": "mini"}, r"no key backbon, .* Did you mean backbone\?"),
        ({"overrides": ["score.temprature=1"]}, r"Did you mean score\.temperature\?"),
    ],
)
def test_an_unknown_option_names_the_nearest(options, message):
    with pytest.raises(UserError, match=message):
        Detector.create(NAMES, **options)


def test_no_negative_label_offends(settings, benchmark, tmp_path):
    (tmp_path / "words.txt").write_text("tractor\nprostitute\nkite\nbuttocks\n")
    own = [*settings, f"corpus.path={tmp_path}/words.txt", "negative_selector=all", "score.num_groups=1"]
    assert Detector.create(NAMES, "open_clip", overrides=own).bank.negatives.names == ("tractor", "kite")
    every = Detector.create(NAMES, "open_clip", overrides=[*own, "decent=false"]).bank.negatives.names
    assert every == ("tractor", "prostitute", "kite", "buttocks")


def test_the_threshold_is_neutral_then_calibrated_then_set(detector, pictures):
    assert detector.threshold == 0.5 and "neutral value" in detector.threshold_origin
    found = detector.calibrate(pictures, id_acceptance=0.9, margin=0.5)
    assert detector.threshold == found.threshold and "accepts 27 of 30 ID images" in detector.threshold_origin
    assert sum(prediction.is_ood for prediction in detector.predict(pictures)) == 3
    detector.threshold = 2.0
    assert detector.calibration is None and detector.threshold_origin == "set by hand"
    assert all(prediction.is_ood for prediction in detector.predict(pictures))


def test_a_score_without_a_neutral_value_does_not_decide(make, pictures):
    detector = make(method="mcm", mining=())
    assert detector.threshold is None and "no neutral value" in detector.threshold_origin
    (found,) = detector.predict(pictures[0])
    assert found.is_ood is found.negative_label is found.negative_share is None


def test_a_method_that_looks_at_patches_takes_them_behind_the_embedding(make, pictures):
    detector, whole = make(method="glmcm", mining=()), make(method="mcm", mining=())
    embeddings = detector.embed(pictures)
    assert embeddings.shape == (30, 17) and torch.equal(embeddings[:, :16], whole.embed(pictures))
    assert torch.allclose(detector.score(pictures), whole.score(pictures) + embeddings[:, 16], atol=1e-6)
    with pytest.raises(UserError, match=r"takes embeddings of 17 numbers.*got 16"):
        detector.score_embeddings(whole.embed(pictures))
    with pytest.raises(UserError, match="takes embeddings of 16 numbers"):
        whole.score_embeddings(embeddings)


def test_calibration_leaves_out_what_the_method_has_learned_from(make, benchmark):
    detector = make("score.num_neighbours=2", method="knn", mining=(), id_images=benchmark / "id")
    more = fakes.write_pictures(benchmark / "more", 25, seed=77)
    found = detector.calibrate([benchmark / "id", *more], 0.9, margin=0.5)
    assert found.num_images == 25


def test_a_method_that_needs_id_images_says_so(make):
    with pytest.raises(UserError, match="learns the classes from a few ID images; got none"):
        make(method="knn", mining=())


def test_an_adaptive_score_takes_a_call_as_one_stream(make, pictures):
    detector = make(method="adaneg", mining=("negative_selector.num_labels=20", "score.num_groups=4"))
    scores = detector.score(pictures)
    assert torch.equal(scores, detector.score(pictures))  # nothing is kept between calls
    assert torch.allclose(scores[:8], detector.score(pictures[:8]), atol=1e-6)  # no later image matters
    state, expected, predicted = detector.scorer.init(detector.bank, None), [], []
    for batch in detector.embed(pictures).split(4):
        (values, classes), state = detector.scorer.step(state, batch)
        expected.append(values)
        predicted.append(classes)
    assert torch.equal(scores, torch.cat(expected))
    predicted = torch.cat(predicted)
    shares = class_share(detector.embed(pictures), predicted, detector.bank, detector.scorer.share_temperature)
    for found, label, share in zip(detector.predict(pictures), predicted.tolist(), shares.tolist(), strict=True):
        assert found.predicted_class == NAMES[label] and found.class_share == pytest.approx(share)
    with pytest.raises(UserError, match="cannot be calibrated"):
        detector.calibrate(pictures)


def scores_elsewhere(folders, pictures, target):
    """Load and score in a fresh process that has no store."""
    code = (
        "import sys, neglab; from safetensors.torch import save_file; *folders, pictures, target = sys.argv[1:]; "
        "save_file({folder: neglab.Detector.load(folder, 'cpu').score(pictures) for folder in folders}, target)"
    )
    arguments = [sys.executable, "-c", code, *folders, pictures[0].parent, target]
    subprocess.run(list(map(str, arguments)), check=True, env=os.environ | {"NEGLAB_STORE": "/proc/nowhere"})
    return load_file(target)


def test_saved_detectors_score_alike_in_a_fresh_process(make, pictures, tmp_path):
    made = {}
    # negrefine encodes texts while it scores, glmcm looks at patches
    for method, mining in (("neglabel", MINING), ("negrefine", MINING), ("glmcm", ())):
        folder = str(tmp_path / method)
        made[folder] = make("llm_filter=none", method=method, mining=mining)
        made[folder].score(pictures[3:9])  # must leave nothing behind
        made[folder].calibrate(pictures, 0.9, margin=0.5)
        made[folder].save(folder)
    found = scores_elsewhere(made, pictures, tmp_path / "scores")
    for folder, detector in made.items():
        assert torch.equal(found[folder], detector.score(pictures))
        again = Detector.load(folder, "cpu")
        assert (again.threshold, again.calibration) == (detector.threshold, detector.calibration)
        assert again.predict(pictures) == detector.predict(pictures)
        again.save(tmp_path / "again")
        for name in (TENSORS, DESCRIPTION):
            assert (tmp_path / "again" / name).read_bytes() == Path(folder, name).read_bytes()


def change(folder, edit):
    path = folder / DESCRIPTION
    path.write_text(edit(path.read_text()))


def other_format(text):
    return json.dumps(json.loads(text) | {"format": 99})


def flip_last_byte(folder):
    content = bytearray((folder / TENSORS).read_bytes())
    content[-1] ^= 1
    (folder / TENSORS).write_bytes(content)


DAMAGES = [
    (lambda folder: change(folder, lambda text: text.replace("tree frog", "tree fog")), "does not match its checksum"),
    (lambda folder: change(folder, lambda text: text[:-30]), "is damaged .*truncated"),
    (lambda folder: change(folder, lambda text: "[]"), "is damaged .*Expected `object`"),
    (lambda folder: change(folder, other_format), "reads detectors of format 1; .* has format 99"),
    (flip_last_byte, f"{TENSORS} does not match its checksum"),
    (lambda folder: (folder / TENSORS).unlink(), "A saved detector is a folder with"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_detector_is_refused(detector, tmp_path, damage, message):
    detector.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match=message):
        Detector.load(tmp_path)


def replaced(content, path, value):
    """A copy with another value at a place such as "settings.recipe.groups"; without it for `...`."""
    first, _, rest = path.partition(".")
    if rest:
        return {**content, first: replaced(content[first], rest, value)}
    return {key: old for key, old in content.items() if key != first} | ({} if value is ... else {first: value})


def test_fields_of_another_shape_are_refused(detector, tmp_path):
    """Whatever the checksum says: the file may come from anyone."""
    detector.save(tmp_path)
    content = json.loads((tmp_path / DESCRIPTION).read_text())["content"]
    own = [("neglab", "text"), ("settings.recipe.backbone", "text"), ("settings.calibration", None)]
    own += [("logit_scale", -3), ("logit_scale", 1e300)]
    paths = ["neglab", "logit_scale", "id_labels", "id_labels.names", "id_labels.parts_of_speech", "negatives.synsets"]
    paths += ["tensors_sha256", "settings", "settings.calibration", "settings.recipe", "settings.recipe.groups"]
    paths += ["settings.recipe.image_batch_size", "settings.recipe.backbone"]
    values = [..., None, [], {}, "text", -3, 1e300, [[]], {"a": 1}, True]
    for path, value in product(paths, values):
        changed = replaced(content, path, value)
        (tmp_path / DESCRIPTION).write_bytes(Document.of(changed, FORMAT).as_json())
        if (path, value) in own:
            read_detector(tmp_path)  # of the right shape
        else:
            with pytest.raises(UserError, match="is damaged"):
                read_detector(tmp_path)


STRANGE_TENSORS = [
    {"id_labels": torch.ones(3, 15)},
    {"id_labels": torch.full((3, 16), torch.nan)},
    {"negatives": torch.ones(1, 16)},
    {"negatives": torch.ones(20, 16).double()},
    {"id_images": torch.ones(2, 16)},
    {"id_images": torch.ones(2, 16), "id_image_labels": torch.tensor([0, 3])},
    {"id_images": torch.ones(2, 16), "id_image_labels": torch.tensor([0.0, 1.0])},
]


def test_tensors_of_another_shape_are_refused(detector, tmp_path):
    detector.save(tmp_path)
    whole = load_file(tmp_path / TENSORS)
    content = json.loads((tmp_path / DESCRIPTION).read_text())["content"]
    for changes in STRANGE_TENSORS:
        tensor_file = save(whole | changes)
        (tmp_path / TENSORS).write_bytes(tensor_file)
        content["tensors_sha256"] = hashlib.sha256(tensor_file).hexdigest()
        (tmp_path / DESCRIPTION).write_bytes(Document.of(content, FORMAT).as_json())
        with pytest.raises(UserError, match="is damaged"):
            read_detector(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_threshold_is_finite(detector, value):
    with pytest.raises(UserError, match="must be a finite number"):
        detector.threshold = value


def test_other_weights_are_refused(make, tiny_model, tmp_path):
    fakes.write_tiny_model(tmp_path / "model")
    make(f"backbone.model=local-dir:{tmp_path}/model").save(tmp_path / "saved")
    Detector.load(tmp_path / "saved")
    fakes.write_tiny_model(tmp_path / "model", seed=1)
    with pytest.raises(UserError, match="must run with the backbone that it was made with"):
        Detector.load(tmp_path / "saved")


def test_a_detector_that_names_code_runs_none(make, tmp_path):
    make().save(tmp_path / "saved")
    path, evil = tmp_path / "saved" / DESCRIPTION, tmp_path / "evil.txt"
    document = json.loads(path.read_text())
    text = f"${{oc.create:{{_target_: pathlib.Path.write_text, _args_: ['{evil}', x]}}}}"
    call = {"_target_": "pathlib.Path.write_text", "self": str(evil), "data": "x"}
    for group, key, value in [
        ("score", "temperature", text),
        ("backbone", "model", text),
        ("score", "group_seed", call),
    ]:
        changed = json.loads(json.dumps(document))
        changed["content"]["settings"]["recipe"]["groups"][group][key] = value
        changed["sha256"] = digest(changed["content"])
        path.write_text(json.dumps(changed))
        with pytest.raises(UserError, match="Do not trust its file"):
            Detector.load(tmp_path / "saved")
    assert not evil.exists()


BAD_NAMES = [([], "got none"), (["cat", " "], "must not be empty; got one in place 2"), ("/no/file", "must exist")]


@pytest.mark.parametrize(("names", "message"), BAD_NAMES)
def test_bad_class_names(make, names, message):
    with pytest.raises(UserError, match=message):
        make(names=names)


def test_repeated_names_count_once(make, caplog):
    detector = make(names=["cat", "dog", "cat", " dog"])
    assert detector.bank.id_labels.names == ("cat", "dog")
    assert "2 class names are repeated and count once" in caplog.text


def test_one_class_needs_negatives(make, pictures):
    assert len(make(names=["cat"]).score(pictures).unique()) > 1
    assert make(method="maxlogit", names=["cat"], mining=()).threshold is None
    for method in ("mcm", "glmcm"):
        with pytest.raises(UserError, match="scores every image alike where there is one class"):
            make(method=method, names=["cat"], mining=())


def test_no_negatives_left(make):
    with pytest.raises(UserError, match="num_groups must be at most the number of negatives"):
        make("score.num_groups=21")


@pytest.mark.slow
def test_many_classes(make, pictures):
    detector = make(names=[f"class {i}" for i in range(10_000)])
    assert len(detector.predict(pictures[:2])) == 2


def test_the_package_names_it():
    assert "Detector" in dir(neglab) and (Path(neglab.__file__).parent / "py.typed").is_file()


def test_the_package_imports_it_when_asked():
    assert neglab.Detector is Detector
    with pytest.raises(AttributeError, match="no attribute 'Detectr'"):
        getattr(neglab, "Detectr")  # noqa: B009
    code = "import sys, neglab; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("typed", "command", "meant"),
    [
        ("seed=range(0,10)", "evaluate", "seed.value=range(0,10)"),
        ("seed=fixed", "evaluate", "seed=fixed"),
        ("id_images=mine/", "detect", "id_images.dataset.root=mine/"),
        ("id_images=emoji", "detect", "id_images=emoji"),
        ("id_images=emojy", "evaluate", "id_images=emojy"),
        ("~debug", "detect", "~debug"),
        (f"seed={'7' * 300}", "evaluate", f"seed.value={'7' * 300}"),
    ],
)
def test_short_forms(typed, command, meant):
    assert long_form(typed, command) == meant
