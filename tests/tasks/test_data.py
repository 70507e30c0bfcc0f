import fakes
import pytest

from neglab.cli import users_mistake
from neglab.compose import compose
from neglab.data.image_list import ImageListFile
from neglab.tasks.data import Finding, inspect, run, table
from neglab.types import UserError


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


def check(*overrides):
    run(compose(overrides, "data"))


def rows(text):
    """The table's rows by set: place, images, expected."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    return {name: rest for name, *rest in cells}


def advice(text):
    """What is to be done, by sets."""
    lines = [line.partition(": ") for line in text.splitlines() if line.startswith(("id_", "ood_"))]
    return {names: what for names, _, what in lines}


def test_alone_it_lists_every_known_set_and_ends_well(neglab):
    result = neglab("data", "paths.data=nowhere", environment={"COLUMNS": "400"})
    found, to_do = rows(result.stdout), advice(result.stdout)
    assert result.returncode == 0, result.stderr
    assert found["id_dataset=emoji"][1:] == ["990", ""]
    assert found["ood_datasets=sun"] == ["nowhere/SUN", "missing", "10,000"]
    assert "SUN.tar.gz" in to_do["ood_datasets=sun"] and "Licence: research" in to_do["ood_datasets=sun"]
    assert any({"id_dataset=imagenet10", "ood_datasets=imagenet10"} <= set(names.split(", ")) for names in to_do)
    assert "ood_datasets=textures_openood" in found
    assert not {"ood_datasets=four_ood", "id_dataset=image_folder"} & set(found)


def test_a_run_whose_sets_are_there_ends_well(capsys):
    check("method=mcm")
    found = rows(capsys.readouterr().out)
    assert list(found)[:2] == ["id_dataset=emoji", "ood_datasets=plants"] and "id_images" not in found


def test_few_id_images_are_looked_for_where_the_method_uses_them(capsys, tmp_path):
    with pytest.raises(UserError, match=r"1 of 8 are not: id_images\."):
        check("method=knn", "id_images=imagenet1k_train", f"paths.data={tmp_path}")
    assert rows(capsys.readouterr().out)["id_images"][0] == f"{tmp_path}/imagenet/train"


def test_a_missing_set_ends_it_with_a_message(capsys, tmp_path):
    fakes.write_pictures(tmp_path / "NINCO/NINCO_OOD_classes/s_sky", 3)
    with pytest.raises(UserError, match="1 of 3 are not: ood_datasets=inaturalist"):
        check(
            "id_dataset=emoji_fx", "ood_datasets=[inaturalist, ninco]", "data.num_workers=0", f"paths.data={tmp_path}"
        )
    text = capsys.readouterr().out
    assert rows(text)["ood_datasets=ninco"][1:] == ["3", "5,879"]
    assert advice(text)["ood_datasets=ninco"] == "Is it another split, or extracted in part?"


def test_a_set_that_cannot_be_built_is_a_users_mistake():
    with pytest.raises(Exception, match="split must be") as raised:
        check("id_dataset=cifar10_6v4", "seed.value=7")
    assert "split must be 0 to 4; got 7" in (users_mistake(raised.value) or "")


def test_listed_images_that_are_missing_are_counted(benchmark, tmp_path):
    names = ["near/picture00.png", "near/picture01.png", "near/gone.png"]
    (tmp_path / "list.txt").write_text("".join(f"{name} -1\n" for name in names))
    listed = ImageListFile(str(benchmark), str(tmp_path / "list.txt"), False, None, None)
    finding = inspect("ood_datasets=mine", listed)
    assert finding.num_images == 2 and finding.advice.startswith("1 listed images are missing")


def test_brackets_in_a_place_are_shown():
    shown = table([Finding("id_dataset=x", "/data/[red]", None, 3, "")])
    assert list(shown.columns[1].cells) == [r"/data/\[red]"]
