"""What configs, class names and words tell is said before the first pass of the towers."""

import pytest

from neglab.compose import build, compose
from neglab.embedding.embedder import Embedder
from neglab.pipeline import gather
from neglab.tasks import explain
from neglab.types import UserError

OWN_IMAGES = ["id_images=image_folder", "id_images.dataset.root={benchmark}/id"]


class PassError(Exception):
    """The towers were asked."""


@pytest.fixture
def run(overrides, benchmark, tmp_path, monkeypatch):
    def refuse(*_):
        raise PassError

    monkeypatch.setattr(Embedder, "embed", refuse)
    (tmp_path / "damaged.jsonl").write_text("\n")

    def start(changes, task=lambda config: gather(build(config))):
        filled = [text.format(benchmark=benchmark, tmp=tmp_path) for text in changes]
        return task(compose([*overrides, *filled], "explain" if task is explain.run else "evaluate", tmp_path))

    return start


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["method=tins", "id_images=emoji"], "id_images must hold images of every ID class; got none of 3 classes"),
        (["method=knn", "id_images=emoji"], "id_images must hold images of every ID class"),
        (["llm_filter=replay", "llm_filter.path={tmp}/mistyped.jsonl"], "llm_filter.path must be a file of answers"),
        (["llm_filter=replay", "llm_filter.path={tmp}/damaged.jsonl"], "must hold a language model's answers"),
        (["llm_filter=replay", "llm_filter.path={tmp}"], "cannot be read"),
        (["method=adaneg", "stream=file", "stream.path={tmp}/mistyped.txt"], "stream.path must be a text file"),
        (["corpus.path={tmp}/mistyped.txt"], "corpus.path must be"),
        (["score=neglabel", "negative_selector=nothing"], "got num_groups=100 with 0 negatives"),
        (["score=neglabel_forms", "score.num_groups=50"], "got num_groups=50 with"),
        (["score=adaneg", "score.num_groups=50"], "got num_groups=50 with"),
        (["score=negrefine", "score.num_groups=50"], "got num_groups=50 with"),
        (["score=interneg", "negative_selector=nothing", *OWN_IMAGES], "with 0 negatives"),
        (["score=tins", "negative_selector=nothing", *OWN_IMAGES], "with 0 negatives"),
        (["score=eoe", "negative_selector=nothing"], "EOE compares with outlier labels"),
        (["score=clipscope", "negative_selector=nothing"], "at least one negative label"),
        (["score=lsn", "negative_selector=nothing"], "K negative prompts for each of the 3 ID classes"),
        (["score=tanl", "negative_selector=all"], "got num_active=1000 with 40 negatives"),
        (["score=tanl", "negative_selector=all", "score.num_active=1", "score.noise=text", "score.num_noise=41"],
         "got num_noise=41 with 40 negatives"),
        (["method=knn", "score.num_neighbours=1000", *OWN_IMAGES], "at most the number of ID images"),
        (["score=cocoop", "score.checkpoint={tmp}"], "must be a folder with prompts"),
        (["negative_selector=neglabel", "negative_selector.fraction=null", "negative_selector.num_labels=41"],
         "got num_labels=41 with 40 words"),
        (["negative_selector=neglabel", "negative_selector.fraction=0.001"], "got none of 40 words"),
        (["negative_selector=clipscope"], "sum to at most the number of words"),
        (["negative_selector=clipscope", "negative_selector.num_far=1", "negative_selector.num_near=1"],
         "got class_rank=50 with 3 classes"),
        (["negative_selector=random", "negative_selector.fraction=0.001"], "Between 1 and 40 negative labels"),
        (["negative_selector=density"], "got 100 with 40 words"),
        (["negative_selector=density", "negative_selector.num_neighbours=5", "negative_selector.fraction=0.01"],
         "got none of 40 words"),
        (["score=debiased", "score.num_groups=1", "negative_selector=all"], "got 40 with 3 classes and purity=0.5"),
        (["score=debiased", "negative_selector=nothing"], "got num_groups=100 with 0 negatives"),
        (["score=oodd", "negative_selector=nothing"], "got num_groups=100 with 0 negatives"),
    ],
)  # fmt: skip
def test_it_is_said_before_the_first_pass(run, changes, message):
    with pytest.raises(UserError, match=message):
        run(changes)


@pytest.mark.parametrize(
    "changes",
    [
        ["method=adaneg", "id_images=image_folder"],  # it ranks by ID names, and so takes no ID images
        ["score=interneg", "score.extra=intra", "id_images=image_folder"],
        ["method=mcm"],
        ["method=neglabel", "negative_selector.fraction=0.5", "score.num_groups=20"],
        ["method=tins", *OWN_IMAGES, "score.num_groups=40"],
        ["method=knn", *OWN_IMAGES, "score.num_neighbours=3"],
        ["negative_selector=random", "negative_selector.fraction=0.5", "score.num_groups=20"],
    ],
)
def test_what_may_work_is_tried(run, changes):
    with pytest.raises(PassError):
        run(changes)


def test_there_is_nothing_to_explain(run):
    with pytest.raises(UserError, match="nothing to explain"):
        run(["method=mcm"], explain.run)


@pytest.mark.parametrize("missing", ["id_dataset.root", "ood_datasets.image_folder.root"])
def test_images_are_looked_for_before_weights(overrides, tmp_path, missing):
    """There is no such model: its weights would be asked for first, and fetched where they can be."""
    changes = ["backbone.model=local-dir:/no/such/model", f"{missing}={tmp_path}/nowhere"]
    with pytest.raises(UserError, match="The image folder must exist"):
        build(compose([*overrides, *changes], output=tmp_path))
