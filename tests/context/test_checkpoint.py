import json

import checkpoint_fakes
import learner_fakes
import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.checkpoint import DESCRIPTION, FORMAT, TENSORS, read_checkpoint, write_checkpoint
from neglab.files import Document
from neglab.types import UserError


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


@pytest.fixture
def folder(backbone, tmp_path):
    checkpoint_fakes.write(tmp_path / "prompts", learner_fakes.lsn(), backbone)
    return tmp_path / "prompts"


def test_it_comes_back_as_it_was(folder, backbone, tmp_path):
    checkpoint = read_checkpoint(folder)
    assert checkpoint.description.class_names == learner_fakes.NAMES
    assert checkpoint.description.num_sets == 3
    assert checkpoint.class_embeddings.shape == (3, 16)
    assert checkpoint.negative_embeddings.shape == (9, 16)
    assert checkpoint.negative_names()[3:6] == ("not 2: cat", "not 2: tree frog", "not 2: dog")
    checkpoint.check_backbone(backbone.fingerprint)
    checkpoint_fakes.write(tmp_path / "again", learner_fakes.lsn(), backbone)
    assert read_checkpoint(tmp_path / "again").digest == checkpoint.digest
    checkpoint_fakes.write(tmp_path / "other", learner_fakes.lsn(), backbone, seed=1)
    assert read_checkpoint(tmp_path / "other").digest != checkpoint.digest


def test_rows_follow_the_names_asked_for(folder):
    checkpoint = read_checkpoint(folder)
    assert checkpoint.class_positions(["dog", "cat"]) == [2, 0]
    assert checkpoint.negative_positions(["dog", "cat"]) == [2, 0, 5, 3, 8, 6]
    assert checkpoint.negative_positions(learner_fakes.NAMES) == list(range(9))


def test_a_name_that_stands_twice_keeps_both_rows(backbone, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.coop(), backbone, class_names=("cat", "dog", "cat"))
    assert read_checkpoint(tmp_path).class_positions(["cat", "dog", "cat"]) == [0, 1, 2]
    assert read_checkpoint(tmp_path).class_positions(["dog", "cat"]) == [1, 0]


def test_another_backbone_or_class_list_is_refused(folder, backbone):
    checkpoint = read_checkpoint(folder)
    with pytest.raises(UserError, match="learned on"):
        checkpoint.check_backbone("another")
    with pytest.raises(UserError, match="the first is 'bird'"):
        checkpoint.class_positions(["cat", "bird", "whale"])


def test_prompts_without_negatives_have_none_to_give(backbone, tmp_path):
    checkpoint_fakes.write(tmp_path, learner_fakes.coop(), backbone)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.negative_embeddings.shape == (0, 16)
    assert checkpoint.negative_names() == ()
    with pytest.raises(UserError, match="coop, which learns none"):
        checkpoint.negative_positions(learner_fakes.NAMES)


def test_what_is_missing_or_damaged_is_said(folder, tmp_path):
    with pytest.raises(UserError, match="must be a folder"):
        read_checkpoint(tmp_path)
    contents = {name: (folder / name).read_bytes() for name in (TENSORS, DESCRIPTION)}
    last = contents[TENSORS][-1]
    for name, damaged in (
        (TENSORS, contents[TENSORS][:-9]),
        (TENSORS, contents[TENSORS][:-1] + bytes([last ^ 1])),
        (DESCRIPTION, b"{"),
        (DESCRIPTION, b"[" * 100_000),
        (DESCRIPTION, contents[DESCRIPTION].replace(b'"shots": 2', b'"shots": 4')),
    ):
        (folder / name).write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            read_checkpoint(folder)
        (folder / name).write_bytes(contents[name])
    read_checkpoint(folder)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("num_sets", 2, "2 negative sets"), ("shots", "two", "shots"), ("class_names", 3, "class_names")],
)
def test_fields_that_do_not_fit_are_damage(folder, field, value, reason):
    """Whatever the checksum says: the file may come from anyone."""
    content = json.loads((folder / DESCRIPTION).read_text())["content"]
    content["prompts"][field] = value
    (folder / DESCRIPTION).write_bytes(Document.of(content, FORMAT).as_json())
    with pytest.raises(UserError, match=f"damaged.*{reason}"):
        read_checkpoint(folder)


def test_tensors_that_are_not_finite_are_damage(folder):
    checkpoint = read_checkpoint(folder)
    checkpoint.class_embeddings[0, 0] = torch.nan
    write_checkpoint(folder, checkpoint.description, checkpoint.tensors)
    with pytest.raises(UserError, match=r"damaged \(class_embeddings is not finite"):
        read_checkpoint(folder)


def test_its_files_are_safetensors_and_json(folder):
    assert sorted(path.name for path in folder.iterdir()) == [DESCRIPTION, TENSORS]
    assert torch.equal(read_checkpoint(folder).class_embeddings.norm(dim=1).round(decimals=5), torch.ones(3))
