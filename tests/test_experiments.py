"""Every experiment composes, builds, and finds the published rows that it is named after."""

import csv
import shlex
from inspect import signature

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from neglab.compose import compose, settled
from neglab.config_files import configs_folder
from neglab.results.published import IDENTITY, NONE, compare, read
from neglab.results.results import METRICS
from neglab.tasks.evaluate import describe

COLUMNS = (*IDENTITY, "backbone", "ood_dataset")
MEANS = {row["ood_dataset"] for row in read("aggregates")}
YAMLS = {path.stem: path for path in sorted((configs_folder() / "experiment").glob("*.yaml"))}
BUILT = ("id_dataset", "id_images", "corpus", "prompt", "negative_selector", "llm_filter", "score", "stream")
COCOOP, COOP = "lsn_cocoop_imagenet100_four_ood", "lsn_imagenet100_four_ood"
LEARNED = (
    COCOOP,
    COOP,
    "lsn_cocoop_imagenet1k_four_ood",
    "lsn_imagenet1k_four_ood",
    "lsn_table4_prompts",
    "lsn_table5_contexts",
    "locoop_imagenet1k_four_ood",
)
ROW5 = [f"{kind}_{how}" for kind in ("positive", "negative") for how in ("specific", "shared", "nameless")]
# Rows that an experiment reaches by an override that its header names, since they need prompts of their own.
BY_HAND = {
    COOP: ["method=coop", "backbone=blip", "backbone=blip method=coop"],
    COCOOP: [
        "method=cocoop",
        "backbone=clip_rn50 published.variant=''",
        *(f"backbone={name}" for name in ("clip_rn50x4", "clip_vit_b32")),
        *(f"id_dataset={name}" for name in ("imagenet10", "imagenet20")),
    ],
    "lsn_imagenet1k_four_ood": ["method=coop"],
    "lsn_cocoop_imagenet1k_four_ood": ["method=cocoop"],
    "lsn_table4_prompts": ["published.row=no_orthogonality", "published.row=multi_positive"],
    "lsn_table5_contexts": [f"published.row={row}" for row in ROW5],
    **{
        f"lsn_table3_{name}": [
            f"method={method} prompt.checkpoint=p" for method in ("coop", "cocoop", "lsn", "lsn_cocoop")
        ]
        for name in ("cifar10_6v4", "cifar100_20v80", "cifar10_4nonanimal", "tiny_imagenet_20v180")
    },
    "csp_imagenet1k_four_ood": [
        f"corpus@corpus.words={name} corpus.words.num_words=null ~corpus.words.exclude published.table=T13 "
        f"published.variant='corpus={title}'"
        for name, title in (("pos_tags", "Part-of-Speech"), ("common_20k", "Common-20K"))
    ],
}
# Published rows of methods that neglab has which no experiment is compared with, and why.
LEFT_OUT = [
    ("ants2026 log", "its README"),
    ("neglabel2024 T3", "the averages of T7"),
    ("neglabel2024 T4", "the averages of T18"),
    ("neglabel2024 T7 neglabel M=1000;", "T8"),
    ("neglabel2024 T7 neglabel M=20000;", "T8"),
    ("neglabel2024 T7 neglabel M=50000;", "T8"),
    ("interneg2026 T1 energy", "neglabel2024 T1"),
    ("interneg2026 T1 lsn", "lsn2024 T2"),
    ("interneg2026 T1 locoop", "locoop2023 T1"),
    ("interneg2026 T2 interneg", "the means of T4"),
    ("interneg2026 T5 interneg", "the means of T6"),
    ("interneg2026 T7 interneg", "the means of T8"),
    ("interneg2026 T9 interneg seed=", "their mean is compared: no two libraries shuffle alike"),
    ("interneg2026 T11 neglabel ID image proxies from ImageNet-V2", "its split of ImageNet-V2 is not published"),
    ("interneg2026 T11 adaneg ID image proxies from ImageNet-V2", "its split of ImageNet-V2 is not published"),
    ("interneg2026 T11 interneg ID image proxies from ImageNet-V2", "its split of ImageNet-V2 is not published"),
    ("interneg2026 T12", "seconds"),
    ("lsn2024 T2 mcm", "T11"),
    ("lsn2024 T4 mcm", "T1"),
    ("lsn2024 T8", "T2"),
    ("lsn2024 T9 mcm  imagenet100 clip_vit_b16", "T1"),
    ("lsn2024 T9 lsn CoCoOp+LSN imagenet100 clip_vit_b16", "T1"),
    ("lsn2024 T11 lsn CoCoOp+LSN imagenet100 ", "T1"),
    ("lsn2024 T11 lsn CoCoOp+LSN imagenet1k ", "T2"),
]


def jobs(name):
    """The overrides of each job that an experiment's sweep expands to; seeds apart, on which no row depends."""
    parameters = OmegaConf.select(OmegaConf.load(YAMLS[name]), "hydra.sweeper.params") or {}
    texts = [f"{key}={value}" for key, value in parameters.items() if key != "seed.value"]
    overrides = OverridesParser.create().parse_overrides(texts)
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def composed(name, job):
    given = ["prompt.checkpoint=prompts"] * (name in LEARNED)
    config = compose([f"experiment={name}", *given, *job])
    backbone = dict(config.backbone)  # not built: it would fetch weights
    signature(get_class(backbone.pop("_target_"))).bind(**backbone)
    return config


def found(config):
    """A faked result of a job beside the published rows."""
    fake = {**describe(config), **dict.fromkeys([f"{metric}_mean" for metric in METRICS], 0.5)}
    rows = compare([{**fake, "ood_dataset": name} for name in (*config.ood_datasets, "mean")])
    return [row for row in rows if not row["published_note"].startswith(NONE)], rows


@pytest.mark.parametrize("name", YAMLS)
def test_every_experiment_composes_builds_and_is_published(name):
    assert f"\n# neglab experiment={name}" in YAMLS[name].read_text()
    config = composed(name, jobs(name)[0])
    for group in BUILT:
        if "checkpoint" not in OmegaConf.to_yaml(config[group]):  # prompts that have to be learned first
            instantiate(settled(config.score, lambda: 100.0) if group == "score" else config[group])
    for dataset in config.ood_datasets.values():
        instantiate(dataset)
    with_value, rows = found(config)
    means_alone = all(row["ood_dataset"] in MEANS for row in with_value)
    assert with_value
    assert means_alone or len(with_value) == len(rows)


@pytest.mark.slow
def test_the_sweeps_are_the_rows_of_the_tables():
    reached = {}
    for name in YAMLS:
        for job in [*jobs(name), *(shlex.split(text, posix=False) for text in BY_HAND.get(name, []))]:
            with_value, _ = found(composed(name, job))
            assert with_value, (name, job)
            reached |= {tuple(row[column] for column in COLUMNS): name for row in with_value}
    methods = {row["method"] for row in read("presets")} | {"energy"}
    missing = {}
    for row in read("published"):
        key = tuple(row[column.removeprefix("published_")] for column in COLUMNS)
        if row["method"] in methods and "CLIP" not in row["variant"] and key not in reached:
            missing.setdefault(" ".join(key[:-1]), row)
    unexplained = [text for text in missing if not text.startswith(tuple(start for start, _ in LEFT_OUT))]
    assert not unexplained
    assert all(any(text.startswith(start) for text in missing) for start, _ in LEFT_OUT)


def test_an_experiment_is_a_sweep_by_itself(neglab, overrides, tmp_path):
    """Hydra takes the mode and the sweep from the experiment's YAML; the command line still wins."""
    mining = ["negative_selector.num_labels=20", "score.num_groups=1,4", "plots=false"]
    finished = neglab("experiment=neglabel_table15_number_of_groups", *overrides, *mining)
    assert finished.returncode == 0, finished.stderr
    (path,) = tmp_path.glob("multirun/*/*/aggregate.csv")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ood_dataset"] == "mean"]
    assert [row["published_variant"] for row in rows] == ["n_groups=1", "n_groups=4"]
    assert {row["published_table"] for row in rows} == {"T15"}
    assert "Against neglabel2024 T15" in finished.stdout and "1: no published value" in finished.stdout
