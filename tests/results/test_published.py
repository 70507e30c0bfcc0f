from decimal import Decimal

import pytest

from neglab.results.published import compare, comparison_tables, identify, read
from neglab.results.results import METRICS

CHOICES = {"method": "neglabel", "id_dataset": "imagenet1k", "corpus": "wordnet"}
BLOCK = dict.fromkeys(("source", "table", "method", "variant", "id_dataset"))


def setting(method="neglabel", choice=None, backbone="clip_vit_b16", **block):
    """The columns that `describe` gives to a run."""
    choices = {**CHOICES, "method": method, **(choice or {})}
    identity = identify({**BLOCK, **block}, choices, [])
    return {"method": method, "overrides": "", "id_dataset": choices["id_dataset"], "backbone": backbone, **identity}


def rows(setting, **datasets):
    """Aggregated rows of a setting; AUROC and FPR95 in both conventions for each OOD set."""
    return [
        {
            **setting,
            "ood_dataset": name,
            **dict.fromkeys([f"{metric}_mean" for metric in METRICS], 0.5),
            "auroc_mean": auroc,
            "fpr95_id_positive_mean": fpr95_id,
            "fpr95_ood_positive_mean": fpr95_ood,
        }
        for name, (auroc, fpr95_id, fpr95_ood) in datasets.items()
    ]


FOUR = {
    "inaturalist": (0.99512, 0.02074, 0.1),
    "sun": (0.95484, 0.20506, 0.1),
    "places": (0.91, 0.36, 0.1),
    "textures": (0.90, 0.4401, 0.1),
}
MEAN = {"mean": (0.5, 0.5, 0.5)}


def cells(table):
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_the_published_tables_are_whole():
    published = read("published")
    assert len(published) == 1626
    key = ("source", "table", "method", "variant", "id_dataset", "ood_dataset", "backbone")
    assert len({tuple(row[name] for name in key) for row in published}) == 1626
    assert {row["fpr95_positive"] for row in published} == {"id", "ood", "unknown"}
    methods = {(row["method"], row["variant"]) for row in published}
    assert all((row["method"], row["variant"]) in methods for row in read("presets"))


def test_differences_are_those_of_what_is_shown():
    (table,) = comparison_tables(compare(rows(setting(), **FOUR, **MEAN)))
    assert str(table.title) == "Against neglabel2024 T1, in percent"
    assert cells(table) == [
        ["neglabel", *[""] * 8],
        ["inaturalist", "99.51", "99.49", "+0.02", "2.07", "1.91", "+0.16", "ID+", ""],
        ["sun", "95.48", "95.49", "-0.01", "20.51", "20.53", "-0.02", "ID+", ""],
        ["places", "91.00", "91.64", "-0.64", "36.00", "35.59", "+0.41", "ID+", ""],
        ["textures", "90.00", "90.22", "-0.22", "44.01", "43.56", "+0.45", "ID+", ""],
        # 93.999 and 25.6475, from the unrounded values
        ["average", "94.00", "94.21", "-0.21", "25.65", "25.40", "+0.25", "ID+", ""],
    ]


def test_fpr95_is_compared_in_the_convention_of_the_row():
    (row,) = compare(rows(setting("interneg"), inaturalist=(0.9979, 0.9, 0.00334)))
    assert (row["published_table"], row["fpr95_convention"]) == ("T1", "OOD+")
    assert (row["published_fpr95"], row["fpr95_difference"]) == (Decimal("0.0040"), Decimal("-0.0007"))
    assert row["auroc_difference"] == 0
    assert "its code computes OOD+" in row["published_note"]


def test_a_row_of_unknown_convention_has_no_fpr95_difference():
    (table,) = comparison_tables(compare(rows(setting("clipscope"), inaturalist=(0.99, 0.02, 0.03))))
    assert cells(table)[1:] == [
        ["inaturalist", "99.00", "99.61", "-0.61", "–", "1.29", "–", "?", ""],
    ]


def test_a_doubtful_row_carries_its_doubt():
    doubtful = setting(source="neglabel2024", table="T13", variant="tau=0.0316")
    (table,) = comparison_tables(compare(rows(doubtful, sun=(0.95, 0.2, 0.2))))
    assert cells(table)[1][-1] == "1"
    assert str(table.caption).startswith("1: the printed temperature looks mislabelled")


def test_what_is_not_published_is_said():
    (table,) = comparison_tables(compare(rows(setting(), sun=(0.95, 0.2, 0.2), ninco=(0.8, 0.6, 0.6))))
    assert cells(table)[2] == ["ninco", "80.00", "–", "–", "–", "–", "–", "–", "1"]
    assert str(table.caption) == "1: no published value"
    (table,) = comparison_tables(compare(rows(setting("tanl"), sun=(0.95, 0.2, 0.2), **MEAN)))
    assert str(table.title) == "No published value, in percent"
    assert [row[0] for row in cells(table)] == ["tanl", "sun"]
    seconds = setting("interneg", source="interneg2026", table="T12", variant="inference time")
    (row,) = compare(rows(seconds, sun=(0.95, 0.2, 0.2)))
    assert row["published_note"].startswith("no published value; 0.0029 s per image")


def test_printed_deviations_stand_beside_their_values():
    random = setting("random_negatives", source="neglabel2024", table="T9", variant="random selection; M=50000")
    (table,) = comparison_tables(compare(rows(random, **FOUR)))
    assert cells(table)[5][1:4] == ["94.00", "92.16 ± 0.01", "+1.84"]


def test_means_run_over_the_papers_sets_alone():
    near = {"ssb_hard": (0.8, 0.7, 0.7), "ninco": (0.85, 0.6, 0.6), "sun": (0.1, 0.9, 0.9)}
    compared = {row["ood_dataset"]: row for row in compare(rows(setting("interneg"), **near))}
    assert compared.keys() == {"ssb_hard", "ninco", "sun", "near_mean"}
    assert compared["near_mean"]["published_table"] == compared["sun"]["published_table"] == "T4"
    assert compared["near_mean"]["auroc_difference"] == Decimal("0.8250") - Decimal("0.8220")
    assert compared["near_mean"]["fpr95_difference"] == Decimal("0.6500") - Decimal("0.6543")
    cifar = setting("interneg", {"id_dataset": "cifar10"})
    sets = {"cifar100": (0.9, 0.4, 0.4), "tiny_imagenet": (0.98, 0.1, 0.1), "cifar10": (0.0, 1.0, 1.0)}
    (mean,) = (row for row in compare(rows(cifar, **sets)) if row["ood_dataset"] == "near_mean")
    assert mean["auroc_difference"] == Decimal("0.9400") - Decimal("0.9513")


def test_one_table_serves_a_whole_setting():
    """InterNeg has iNaturalist in two tables, on other images: 99.79 in T1, 99.71 in T4."""
    far = dict.fromkeys(("inaturalist", "textures", "openimage_o"), (0.9, 0.1, 0.1))
    by_set = {row["ood_dataset"]: row for row in compare(rows(setting("interneg"), **far))}
    assert by_set["inaturalist"]["published_auroc"] == Decimal("0.9971")
    by_set = {row["ood_dataset"]: row for row in compare(rows(setting("interneg"), **FOUR))}
    assert by_set["inaturalist"]["published_auroc"] == Decimal("0.9979")


def test_another_backbone_is_another_row():
    (row,) = compare(rows(setting(backbone="clip_vit_l14"), sun=(0.95, 0.2, 0.2)))
    assert (row["published_table"], row["published_auroc"]) == ("T18", Decimal("0.9563"))
    (row,) = compare(rows(setting(backbone="mini"), sun=(0.95, 0.2, 0.2)))
    assert row["published_note"] == "no published value"


@pytest.mark.parametrize(
    ("override", "still"),
    [
        ("backbone=clip_vit_l14", True),
        ("backbone.transform=bilinear_224", True),
        ("id_dataset.root=data/imagenet", True),
        ("~ood_datasets.sun", True),
        ("+ood_datasets@ood_datasets=ninco", True),
        ("id_images=imagenet1k_train", True),
        ("id_images.dataset.root=data/train", True),
        ("id_images.num_per_class=4", False),
        ("score.temperature=0.02", False),
        ("corpus=csp", False),
        ("stream=id_first", False),
    ],
)
def test_a_preset_is_compared_unless_its_method_is_changed(override, still):
    assert (identify(BLOCK, CHOICES, [override])["published_method"] == "neglabel") is still
    # An experiment says itself what it is compared with.
    named = {**BLOCK, "source": "neglabel2024", "table": "T13", "variant": "tau=0.02"}
    assert identify(named, CHOICES, [override])["published_variant"] == "tau=0.02"


def test_a_preset_stands_for_a_published_method_and_variant():
    found = identify(BLOCK, {**CHOICES, "method": "lsn_cocoop"}, [])
    assert (found["published_method"], found["published_variant"]) == ("lsn", "CoCoOp+LSN")
    assert set(identify(BLOCK, {**CHOICES, "method": "tins"}, []).values()) == {""}
    empty = identify({**BLOCK, "source": "lsn2024", "variant": ""}, {**CHOICES, "method": "lsn_cocoop"}, [])
    assert empty["published_variant"] == ""


def test_a_variant_may_follow_a_groups_option():
    block = {**BLOCK, "source": "neglabel2024", "variant": {"corpus": {"wordnet": "corpus=WordNet"}}}
    assert identify(block, CHOICES, [])["published_variant"] == "corpus=WordNet"
    assert identify(block, {**CHOICES, "corpus": "csp"}, [])["published_variant"] == "no published value"
