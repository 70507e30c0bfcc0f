import csv
import json
import shutil

import fakes
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import MissingMandatoryValue
from PIL import Image
from torch.nn.functional import normalize

from neglab.compose import compose
from neglab.context.checkpoint import read_checkpoint
from neglab.modules.prompt_learning import PromptLearningModule
from neglab.prompt_learner.locoop import LoCoOpLearner
from neglab.results.score_tables import read_scores
from neglab.tasks import evaluate, learn
from neglab.types import UserError

SHORT = [
    "prompt_learner.context.num_tokens=4",
    "prompt_learner.recipe.num_epochs=2",
    "prompt_learner.recipe.batch_size=4",
]
SHORT_LSN = [*SHORT, "prompt_learner.positive.context.num_tokens=4", "prompt_learner.positive.recipe.num_epochs=2"]


@pytest.fixture
def overrides(overrides, benchmark):
    """Three classes of four pictures; no OOD set, corpus or method: `neglab learn` has none."""
    foreign = ("ood_datasets", "corpus")
    few = ["id_images=image_folder", f"id_images.dataset.root={benchmark}/id", "id_images.num_per_class=3"]
    few.append("data.allow_shared=true")  # what is learned here is not judged
    return [text for text in overrides if not text.startswith(foreign)] + few


@pytest.fixture
def config(overrides, tmp_path):
    def make(*more):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        folder.mkdir()
        return compose([*overrides, *more], command="learn", output=folder)

    return make


def files(folder):
    return {name: (folder / name).read_bytes() for name in ("prompts.safetensors", "prompts.json", "curves.csv")}


@pytest.mark.parametrize(
    ("learner", "knobs", "num_sets"),
    [
        ("coop", SHORT, 0),
        ("cocoop", SHORT, 0),
        ("lsn", SHORT_LSN, 3),
        ("lsn_cocoop", SHORT_LSN, 3),
        ("lsn_official", SHORT_LSN, 3),
        ("sct", SHORT, 0),
    ],
)
def test_a_run_leaves_prompts_curves_and_accuracies(config, tmp_path, learner, knobs, num_sets):
    accuracy = learn.run(config(f"prompt_learner={learner}", *knobs, "seed.value=3"))
    checkpoint = read_checkpoint(tmp_path / "run0")
    assert checkpoint.description.class_names == ("cat", "dog", "tree frog")
    assert (checkpoint.description.seed, checkpoint.description.shots) == (3, 3)
    assert checkpoint.description.num_sets == num_sets
    assert len(checkpoint.negative_embeddings) == 3 * num_sets
    assert checkpoint.description.knobs["recipe"]["num_epochs"] == 2
    metrics = json.loads((tmp_path / "run0/metrics.json").read_text())
    assert metrics["id/accuracy"] == accuracy
    assert 0 <= metrics["id/accuracy_few_shot"] <= 1
    with (tmp_path / "run0/curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] * (2 if num_sets else 1)
    assert not list((tmp_path / "store").rglob("coop.safetensors"))


def test_a_backbone_without_patches_cannot_learn_from_them(config, tmp_path):
    model = fakes.write_tiny_model(tmp_path / "model", vision_cfg={"pool_type": "avg"})
    with pytest.raises(UserError, match="looks at the patches"):
        learn.run(config("prompt_learner=locoop", *SHORT, f"backbone.model={model}"))


def test_patches_reach_the_learner_of_a_stage(config, benchmark, monkeypatch):
    """LSN on LoCoOp's positives: an image's patches come with it."""
    seen = []
    losses = LoCoOpLearner.losses

    def watched(self, encode, images, labels, patches=None):
        seen.append((images, patches))
        return losses(self, encode, images, labels, patches)

    monkeypatch.setattr(LoCoOpLearner, "losses", watched)
    config = config("prompt_learner=lsn", "prompt_learner@prompt_learner.positive=locoop", *SHORT_LSN)
    learn.run(config)
    backbone = instantiate(config.backbone)
    pictures = [Image.open(path).convert("RGB") for path in sorted((benchmark / "id").rglob("*.png"))]
    pixels = torch.stack([backbone.image_transform()(picture) for picture in pictures])
    with torch.inference_mode():
        whole, places = normalize(backbone.encode_image(pixels), dim=1), backbone.encode_patches(pixels)
    assert len(seen) == 2
    for images, patches in seen:
        similarity, which = (images @ whole.T).max(dim=1)
        assert len(images) == 9 and (similarity > 1 - 1e-5).all()
        assert torch.allclose(patches.float(), normalize(places, dim=2)[which], atol=1e-3)


def test_training_twice_with_one_seed_gives_the_same_bytes(config, tmp_path):
    for seed in (0, 0, 1):
        learn.run(config("prompt_learner=lsn", *SHORT_LSN, f"seed.value={seed}"))
    first, again, other = (files(tmp_path / f"run{i}") for i in range(3))
    assert first == again
    assert first["prompts.safetensors"] != other["prompts.safetensors"]


def test_a_stopped_run_goes_on_to_the_same_bytes(config, tmp_path, monkeypatch):
    arguments = ("prompt_learner=lsn", *SHORT_LSN)
    learn.run(config(*arguments))
    step = PromptLearningModule.training_step
    with monkeypatch.context() as patch:

        def interrupted(self, batch, batch_idx):
            if self.learner.name == "lsn" and self.current_epoch == 1:
                raise KeyboardInterrupt
            return step(self, batch, batch_idx)

        patch.setattr(PromptLearningModule, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn.run(config(*arguments))
    epochs = []
    monkeypatch.setattr(
        PromptLearningModule, "on_train_epoch_end", lambda self: epochs.append((self.learner.name, self.current_epoch))
    )
    learn.run(config(*arguments))
    assert epochs == [("lsn", 0)]
    assert files(tmp_path / "run0") == files(tmp_path / "run2")


def test_it_needs_no_ood_folder_and_no_test_images(overrides, benchmark, tmp_path):
    """The benchmark's ID pictures alone, moved to another place."""
    shutil.copytree(benchmark / "id", tmp_path / "alone")
    own = [text.replace(f"{benchmark}/id", f"{tmp_path}/alone") for text in overrides]
    own = [text for text in own if not text.startswith("id_dataset")]
    config = compose([*own, "prompt_learner=coop", *SHORT], command="learn", output=tmp_path)
    config.id_dataset = None
    assert "ood_datasets" not in config
    learn.run(config)
    assert "id/accuracy" not in json.loads((tmp_path / "metrics.json").read_text())
    assert read_checkpoint(tmp_path).description.class_names == ("cat", "dog", "tree frog")


def test_no_image_is_encoded_twice(config, monkeypatch):
    learn.run(config("prompt_learner=coop", *SHORT))

    def refuse(*arguments):
        raise AssertionError("encoded again")

    monkeypatch.setattr("neglab.backbone.open_clip.OpenCLIPBackbone.encode_image", refuse)
    learn.run(config("prompt_learner=lsn", *SHORT_LSN))


ABLATIONS = {
    "no orthogonality": ["prompt_learner.orthogonality_weight=0.0"],
    "no learned positives": ["prompt_learner.positive.recipe.num_epochs=0"],
    "shared negatives": ["prompt_learner.context.class_specific=false"],
    "negatives without name": ["prompt_learner.context.class_name=false"],
    "several positive sets": [
        "prompt_learner.positive.context.num_sets=3",
        "prompt_learner.positive.context.initial_words=null",
    ],
    "positives of each class": ["prompt_learner.positive.context.class_specific=true"],
    "one shot": ["id_images.num_per_class=1"],
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_papers_ablations_are_overrides(config, tmp_path, ablation):
    knobs = [*SHORT_LSN, "prompt_learner.recipe.num_epochs=1", "prompt_learner.positive.recipe.num_epochs=1"]
    learn.run(config("prompt_learner=lsn", *knobs, *ABLATIONS[ablation]))
    tensors = read_checkpoint(tmp_path / "run0").tensors
    shared = ablation == "shared negatives"
    assert tensors["negative_context"].shape[:3] == (3, 1 if shared else 3, 4)
    assert len(tensors["context"]) == (3 if ablation == "several positive sets" else 1)
    assert tensors["negative_embeddings"].shape == (9, 16)


def test_what_cannot_be_learned_from_is_said(config, benchmark, tmp_path):
    with pytest.raises(UserError, match="'cat' with 4"):
        learn.run(config("prompt_learner=coop", *SHORT, "id_images.num_per_class=5"))
    learn.run(config("prompt_learner=coop", *SHORT, "id_images.num_per_class=5", "learn.allow_fewer_images=true"))
    with pytest.raises(UserError, match="77 tokens"):
        learn.run(config("prompt_learner=coop", *SHORT, "prompt_learner.context.num_tokens=76"))
    with pytest.raises(UserError, match=r"^seed must be a valid integer; got 'x'"):
        learn.run(config("prompt_learner=coop", "seed.value=x"))
    fakes.write_pictures(tmp_path / "single/cat", 3)
    one = [f"id_dataset.root={tmp_path}/single", f"id_images.dataset.root={tmp_path}/single"]
    with pytest.raises(UserError, match="got 1 class"):
        learn.run(config("prompt_learner=coop", *SHORT, *one))


def test_a_loss_that_is_not_finite_keeps_the_last_good_prompts(config, tmp_path, monkeypatch):
    step = PromptLearningModule.training_step

    def broken(self, batch, batch_idx):
        return step(self, batch, batch_idx) if self.current_epoch < 1 else self._fail()

    monkeypatch.setattr(PromptLearningModule, "training_step", broken)

    def fail(self):
        raise self._not_finite()

    monkeypatch.setattr(PromptLearningModule, "_fail", fail, raising=False)
    with pytest.raises(UserError, match=r"after epoch 1 are kept in .*last_good"):
        learn.run(config("prompt_learner=coop", *SHORT))
    assert read_checkpoint(tmp_path / "run0/last_good").class_embeddings.isfinite().all()


METHODS = ("coop", "cocoop", "lsn", "lsn_official", "lsn_cocoop")  # the learners have the same names


@pytest.mark.parametrize("method", METHODS)
def test_every_method_evaluates_its_checkpoint(config, overrides, benchmark, tmp_path, method):
    knobs = SHORT_LSN if method.startswith("lsn") else SHORT
    learn.run(config(f"prompt_learner={method}", *knobs))
    (tmp_path / "evaluated").mkdir()
    ood = ["ood_datasets=image_folder", f"ood_datasets.image_folder.root={benchmark}/near"]
    knobs = [*overrides, *ood, f"method={method}", f"prompt.checkpoint={tmp_path}/run0"]
    auroc = evaluate.run(compose(knobs, output=tmp_path / "evaluated"))
    assert 0 <= auroc <= 1
    metrics = json.loads((tmp_path / "evaluated/metrics.json").read_text())
    learned = json.loads((tmp_path / "run0/metrics.json").read_text())
    if "cocoop" not in method:
        assert metrics["id/accuracy"] == learned["id/accuracy"]
    with (tmp_path / "evaluated/negative_labels.csv").open(newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    expected = [f"not {k}: {name}" for k in (1, 2, 3) for name in ("cat", "dog", "tree frog")]
    assert labels == (expected if method.startswith("lsn") else [])


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_on_a_gpu_every_method_learns_and_evaluates(config, overrides, benchmark, tmp_path, method):
    knobs = SHORT_LSN if method.startswith("lsn") else SHORT
    learn.run(config(f"prompt_learner={method}", *knobs, "trainer=gpu"))
    ood = ["ood_datasets=image_folder", f"ood_datasets.image_folder.root={benchmark}/near"]
    found = []
    for place in ("cpu", "gpu"):
        (tmp_path / place).mkdir()
        own = [f"method={method}", f"prompt.checkpoint={tmp_path}/run0", f"trainer={place}"]
        own.append(f"paths.store={tmp_path}/store_of_{place}")
        evaluate.run(compose([*overrides, *ood, *own], output=tmp_path / place))
        found.append(read_scores(tmp_path / place / "scores/id.csv")[1])
    assert torch.allclose(*found, rtol=1e-3, atol=1e-4)


def test_a_prompt_bank_serves_other_scores(config, overrides, benchmark, tmp_path):
    """CoOp's classes with NegLabel's negatives, whose words take templates or the learned context."""
    learn.run(config("prompt_learner=coop", *SHORT))
    scores = []
    for words in ("template", "context"):
        folder = tmp_path / words
        folder.mkdir()
        own = ["ood_datasets=image_folder", f"ood_datasets.image_folder.root={benchmark}/near", "corpus=file"]
        own += [f"corpus.path={benchmark}/words.txt", "negative_selector.fraction=0.5", "score.num_groups=4"]
        own += ["prompt=learned", f"prompt.checkpoint={tmp_path}/run0", f"prompt.words={words}"]
        evaluate.run(compose([*overrides, *own], output=folder))
        scores.append((folder / "scores/id.csv").read_text())
    assert scores[0] != scores[1]


def test_a_method_without_its_checkpoint_says_which_key(overrides, benchmark, tmp_path):
    ood = ["ood_datasets=image_folder", f"ood_datasets.image_folder.root={benchmark}/near"]
    config = compose([*overrides, *ood, "method=lsn"], output=tmp_path)
    with pytest.raises(MissingMandatoryValue, match=r"prompt\.checkpoint"):
        evaluate.run(config)


def test_half_precision_autocast_trains(config, tmp_path):
    learn.run(config("prompt_learner=coop", *SHORT, "learn.precision=bf16-mixed"))
    assert read_checkpoint(tmp_path / "run0").class_embeddings.dtype == torch.float32
