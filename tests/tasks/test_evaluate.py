import json
import shutil
from dataclasses import replace

import fakes
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from neglab.compose import Kept, build, compose
from neglab.llm_filter.base import LabelFilter
from neglab.modules.products import KeptProducts
from neglab.pipeline import evaluate
from neglab.results.examples import read_examples
from neglab.tasks.evaluate import describe, run, setting_digests
from neglab.types import FilterResult, UserError


@pytest.fixture
def config(overrides, tmp_path):
    def make(*more, mining=("negative_selector.fraction=0.5", "score.num_groups=4")):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        folder.mkdir()
        return compose([*overrides, *mining, *more], output=folder)

    return make


def tables(evaluation):
    return [table for pair in evaluation.pairs for table in (pair.id_images, pair.ood_images)]


@pytest.mark.parametrize("chosen", ["data.resize=device", "data.decode=device"])
def test_reading_by_the_device_is_a_setting_of_its_own_and_other_keys_of_loading_are_none(config, chosen):
    configs = [config(*more) for more in ((), ("data.num_workers=3",), (chosen,))]
    plain, workers, device = (setting_digests(one, False) for one in configs)
    assert plain == workers and plain["config"] != device["config"] and plain["benchmark"] == device["benchmark"]
    if chosen == "data.decode=device":  # which resizes then, whatever is said
        both = setting_digests(config(chosen, "data.resize=device"), False)
        assert both == device
    written = [describe(one)["overrides"] for one in configs]
    assert chosen in written[2] and written[2].replace(f" {chosen}", "") == written[0] == written[1]


def test_a_run_leaves_everything_that_its_numbers_need(config, tmp_path):
    mean = run(config("seed.value=3"))
    metrics = json.loads((tmp_path / "run0" / "metrics.json").read_text())
    assert mean == metrics["ood/mean/auroc"] == metrics["ood/image_folder/auroc"]
    assert 0 <= metrics["id/accuracy"] <= 1
    assert {"time/embed", "time/mine", "time/filter", "time/score", "ood/mean/fpr95_ood_positive"} <= metrics.keys()
    rows = fakes.read_csv(tmp_path / "run0" / "results.csv")
    assert [row["ood_dataset"] for row in rows] == ["image_folder", "mean"]
    assert (rows[0]["method"], rows[0]["seed"], rows[0]["num_negatives"]) == ("neglabel", "3", "20")
    assert "negative_selector.fraction=0.5" in rows[0]["overrides"]
    negatives = fakes.read_csv(tmp_path / "run0" / "negative_labels.csv")
    assert [row["rank"] for row in negatives] == [str(i) for i in range(1, 21)]
    assert [float(row["similarity"]) for row in negatives] == sorted(float(row["similarity"]) for row in negatives)
    assert len(fakes.read_csv(tmp_path / "run0" / "scores" / "id.csv")) == 12
    assert (tmp_path / "run0" / "roc_curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "AUROC" in (tmp_path / "run0" / "table.md").read_text()
    assert json.loads((tmp_path / "run0" / "environment.json").read_text())["torch"]


def test_the_patches_join_in(config):
    parts = build(config("method=glmcm", "score.local_weight=2.0", "score.score.temperature=0.1", mining=()))
    evaluation, transform = evaluate(parts), parts.backbone.image_transform()
    classes = evaluation.id_labels.embeddings
    for table in tables(evaluation):
        pixels = torch.stack([transform(Image.open(path).convert("RGB")) for path in table.paths])
        with torch.inference_mode():
            whole = normalize(parts.backbone.encode_image(pixels), dim=1) @ classes.T / 0.1
            patches = normalize(parts.backbone.encode_patches(pixels), dim=2) @ classes.T / 0.1
        expected = whole.softmax(dim=1).amax(dim=1) + 2 * patches.softmax(dim=2).amax(dim=(1, 2))
        assert torch.allclose(table.scores.float(), expected, atol=1e-5)
        assert torch.equal(table.predicted, whole.argmax(dim=1))
    again = evaluate(parts)
    assert again.times["num_encoded"] == 0
    assert all(map(torch.equal, *([table.scores for table in tables(one)] for one in (evaluation, again))))


def test_a_backbone_without_patches_is_said_before_any_pass(config, tmp_path):
    model = fakes.write_tiny_model(tmp_path / "model", vision_cfg={"pool_type": "avg"})
    with pytest.raises(UserError, match="looks at the patches"):
        evaluate(build(config("method=glmcm", f"backbone.model={model}", mining=())))
    assert not (tmp_path / "store/embeddings").exists()


def test_examples_are_the_images_whose_score_is_most_wrong(config, tmp_path):
    run(config("plots=false"))
    examples = read_examples(tmp_path / "run0" / "examples.csv")
    negatives = {row["label"] for row in fakes.read_csv(tmp_path / "run0" / "negative_labels.csv")}
    for name, is_id, count in (("id", True, 8), ("image_folder", False, 5)):
        rows = fakes.read_csv(tmp_path / "run0" / "scores" / f"{name}.csv")
        rows = sorted(rows, key=lambda row: float(row["id_score"]), reverse=not is_id)[:count]
        found = [example for example in examples if example.dataset == name]
        wanted = [(row["path"], row["class"], float(row["id_score"]), row["predicted_class"]) for row in rows]
        assert [example[1:5] for example in found] == wanted
        for example in found:
            shares = [share for _, share in example.negatives]
            assert len(shares) == 3 and shares == sorted(shares, reverse=True) and example.class_share + sum(shares) < 1
            assert {label for label, _ in example.negatives} <= negatives


def test_examples_of_a_method_without_negatives(config, tmp_path):
    run(config("method=mcm", "plots=false", mining=[]))
    assert {example.negatives for example in read_examples(tmp_path / "run0" / "examples.csv")} == {()}


def test_a_selection_replays_to_the_same_scores(config, tmp_path):
    run(config())
    run(
        config(
            f"corpus.path={tmp_path}/run0/negative_labels.csv", "negative_selector=all", mining=["score.num_groups=4"]
        )
    )
    for name in ("id.csv", "image_folder.csv"):
        assert (tmp_path / "run0/scores" / name).read_bytes() == (tmp_path / "run1/scores" / name).read_bytes()


def test_scoring_batches_do_not_change_scores(config):
    first, second = (evaluate(build(config(f"data.score_batch_size={size}"))) for size in (2, 100))
    assert torch.allclose(first.pairs[0].id_images.scores, second.pairs[0].id_images.scores, atol=1e-6, rtol=0)


def test_the_global_random_state_is_untouched(config):
    parts = build(config("negative_selector=random"))
    before = torch.random.get_rng_state()
    evaluate(parts)
    assert torch.equal(before, torch.random.get_rng_state())


def test_methods_without_negatives_encode_no_corpus(config):
    evaluation = evaluate(build(config("method=mcm", mining=[])))
    assert len(evaluation.negatives) == 0
    assert evaluation.times["num_encoded"] == 12 + 5 + 3


def test_which_folder_has_which_name_is_written_and_printed(config, benchmark, tmp_path, capsys):
    """Folders 1 to 12 with a list in numeric order give what folders with the names themselves give."""
    names = [f"thing {chr(97 + i)}" for i in range(12)]
    pictures = sorted((benchmark / "id").rglob("*.png"))
    for i, name in enumerate(names):
        for folder in (tmp_path / "named" / name, tmp_path / "numbered" / str(i + 1)):
            folder.mkdir(parents=True)
            shutil.copy(pictures[i], folder / "picture.png")
    (tmp_path / "names.txt").write_text("\n".join(names))
    run(config(f"id_dataset.root={tmp_path}/named", "plots=false"))
    numbered = (f"id_dataset.root={tmp_path}/numbered", f"id_dataset.class_names={tmp_path}/names.txt")
    run(config(*numbered, "plots=false"))
    metrics = [json.loads((tmp_path / f"run{i}" / "metrics.json").read_text()) for i in (0, 1)]
    assert metrics[0]["id/accuracy"] == metrics[1]["id/accuracy"]
    rows = [fakes.read_csv(tmp_path / f"run{i}" / "scores" / "id.csv") for i in (0, 1)]
    first, second = ({row["class"]: row["predicted_class"] for row in part} for part in rows)
    assert first == second and sorted(second) == names
    classes = fakes.read_csv(tmp_path / "run1" / "classes.csv")
    assert [row["class_name"] for row in classes] == names
    assert [row["key"] for row in classes] == [str(i + 1) for i in range(12)]
    assert "ID classes: 1 = thing a, 2 = thing b, 3 = thing c" in capsys.readouterr().out


def test_the_accuracy_is_that_of_the_methods_own_predictions_in_each_stream(config, tmp_path, benchmark):
    """AdaNeg predicts with what the stream taught it, so each OOD set has its own ID accuracy."""
    settings = f"_target_: neglab.data.image_folder.ImageFolder, root: {benchmark}/far, labelled: false"
    far = f"+ood_datasets.far={{{settings}, class_names: null, folders: null, about: null}}"
    extreme = ("score.threshold=1.0", "score.gap=0.0", "score.temperature=1.0", "score.static_weight=5.0")
    mining = ("negative_selector.num_labels=20", "score.num_groups=4")
    run(config("method=adaneg", *extreme, "stream.batch_size=4", far, "plots=false", mining=mining))
    metrics = json.loads((tmp_path / "run0" / "metrics.json").read_text())
    own = []
    for row in fakes.read_csv(tmp_path / "run0" / "results.csv")[:-1]:
        scored = fakes.read_csv(tmp_path / "run0" / "scores" / f"id_{row['ood_dataset']}.csv")
        own.append(sum(one["class"] == one["predicted_class"] for one in scored) / len(scored))
        assert float(row["id_accuracy"]) == own[-1] == metrics[f"ood/{row['ood_dataset']}/id_accuracy"]
    assert len(own) == 2 and metrics["id/accuracy"] == pytest.approx(sum(own) / 2)


def test_unclear_answers_are_counted_in_the_results(config, tmp_path):
    words = [f"word {first}{second}" for first in "abcde" for second in "abcd"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    rows = [{"kind": "proper_noun", "label": word, "class": None} for word in words]
    rows += [
        {"kind": "subcategory", "label": word, "class": name} for word in words for name in ("cat", "dog", "tree frog")
    ]
    answers = ["Perhaps.", "Yes", *["No"] * 100]  # of the first two words as proper nouns
    lines = [json.dumps({**row, "question": str(i), "answer": answers[i]}) for i, row in enumerate(rows)]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    replay = ("llm_filter=replay", f"llm_filter.path={tmp_path}/answers.jsonl")
    run(config(*replay, f"corpus.path={tmp_path}/words.txt", "plots=false"))
    assert json.loads((tmp_path / "run0" / "metrics.json").read_text())["filter/num_unclear"] == 1
    assert {row["num_unclear"] for row in fakes.read_csv(tmp_path / "run0" / "results.csv")} == {"1"}
    assert "unclear and count as no: 1." in (tmp_path / "run0" / "table.md").read_text()
    run(config("plots=false"))
    assert "filter/num_unclear" not in json.loads((tmp_path / "run1" / "metrics.json").read_text())
    assert "unclear" not in (tmp_path / "run1" / "table.md").read_text()


class Renames(LabelFilter):
    """Drops the first label and renames the second."""

    def apply(self, negatives, id_labels, encoder):
        return FilterResult(torch.tensor([1, 2]), ("another name", negatives.names[2]))


def test_a_name_that_a_filter_changed_is_encoded_again(config):
    parts = replace(build(config()), label_filter=Renames())
    evaluation = evaluate(replace(parts, score=build(config("score.num_groups=1")).score))
    assert evaluation.negatives.names[0] == "another name" and len(evaluation.negatives) == 2
    plain = evaluate(build(config()))
    assert torch.allclose(evaluation.negatives.embeddings[1], plain.negatives.embeddings[2], atol=1e-6)
    assert not torch.allclose(evaluation.negatives.embeddings[0], plain.negatives.embeddings[1], atol=1e-3)


def test_several_folders_of_ood_images_on_the_command_line(config, benchmark):
    roots = f"ood_datasets.roots={{animals: {benchmark}/near, house_plants: {benchmark}/far}}"
    parts = build(config("method=mcm", "~ood_datasets.image_folder", f"+{roots}", mining=[]))
    assert list(parts.ood_datasets) == ["animals", "house_plants"]
    assert [pair.ood_images.dataset for pair in evaluate(parts).pairs] == ["animals", "house_plants"]
    folders = ["ood_datasets=image_folders", roots]
    assert list(build(compose(folders)).ood_datasets) == ["animals", "house_plants"]
    with pytest.raises(UserError, match="must name a folder for each set; got None"):
        build(compose(folders[:1]))
    with pytest.raises(UserError, match="An OOD set's name, its key in ood_datasets"):
        compose([folders[0], f"ood_datasets.roots={{id: {benchmark}/near}}"])


def test_no_ood_set(config):
    with pytest.raises(UserError, match="At least one OOD set"):
        build(config("~ood_datasets.image_folder"))


def test_two_processes_equal_one(config, tmp_path):
    one = evaluate(build(config("data.image_batch_size=2")))
    two = evaluate(build(config("data.image_batch_size=2", f"paths.store={tmp_path}/two", "trainer=cpu2")))
    assert two.times["num_encoded"] == one.times["num_encoded"] > 0
    assert torch.equal(one.id_labels.embeddings, two.id_labels.embeddings)
    assert one.negatives.names == two.negatives.names
    for first, second in zip(tables(one), tables(two), strict=True):
        assert torch.equal(first.scores, second.scores)
        assert torch.equal(first.predicted, second.predicted)


def test_a_sweep_loads_and_embeds_once(config):
    kept = Kept(products=KeptProducts())
    first = build(config(), kept)
    embedded = evaluate(first, None, kept.products).embedded
    for change in ("score.temperature=0.5", "score.num_groups=2", "score.group_seed=1"):
        other = build(config(change), kept)
        assert other.backbone is first.backbone and other.corpus is first.corpus and other.score is not first.score
        shared, alone = evaluate(other, embedded, kept.products), evaluate(build(config(change)))
        assert shared.embedded is embedded and shared.times["num_encoded"] == 0
        assert list(embedded.selected) == [first.selector]
        for mine, theirs in zip(tables(shared), tables(alone), strict=True):
            assert torch.equal(mine.scores, theirs.scores)
            assert torch.equal(mine.predicted, theirs.predicted)


def test_what_decides_the_embeddings_makes_them_anew(config, benchmark):
    kept = Kept()
    embedded = evaluate(build(config(), kept)).embedded
    for change in (f"ood_datasets.image_folder.root={benchmark}/far", "prompt=plain", "data.max_unreadable=1"):
        assert evaluate(build(config(change), kept), embedded).embedded is not embedded
