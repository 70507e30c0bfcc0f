import fakes
import learner_fakes
import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.context.prompts import TokenTower
from neglab.modules.prompt_learning import EpochBatches, EpochKeeper, PromptLearningModule, Training
from neglab.modules.training_state import TrainingState
from neglab.passes.prediction import Devices
from neglab.types import LabelledEmbeddings, UserError

ONE = Devices("cpu", 1, "auto", progress_bar=False)
LIVE_SEED = 5  # under which the meta-net's only hidden unit is not dead
IMAGES = LabelledEmbeddings(fakes.unit(10, seed=3), torch.arange(10) % 3)


@pytest.fixture(scope="module")
def backbone(tiny_model):
    return OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)


def training(folder, devices=ONE, seed=0, precision="32-true"):
    return Training(devices, precision, seed, folder / "states", folder / "curves.csv")


def trained(folder, backbone, learner, **options):
    """The rows that a dashboard would get."""
    rows, folder = [], folder
    folder.mkdir(exist_ok=True)
    training(folder, **options).train(TokenTower(backbone, 100), learner, IMAGES, [], rows.append)
    return rows


class Interrupt(Exception):
    pass


def stop_after(monkeypatch, num_epochs):
    """Stops a pass in the middle of the epoch after so many whole ones."""
    step = PromptLearningModule.training_step

    def interrupted(self, batch, batch_idx):
        if self.current_epoch == num_epochs and batch_idx == 1:
            raise Interrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(PromptLearningModule, "training_step", interrupted)


def test_a_plain_loop_gives_the_same_context(backbone, tmp_path):
    recipe = {"momentum": 0.9, "weight_decay": 0.01, "warmup_epochs": 1, "num_epochs": 3}
    learner, plain = (learner_fakes.built(learner_fakes.coop(recipe_knobs=recipe), backbone) for _ in range(2))
    trained(tmp_path, backbone, learner)
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for epoch in range(3):
        optimiser.param_groups[0]["lr"] = plain.recipe.rate(epoch)
        batches = EpochBatches(10, 4, 0, 0)
        batches.set_epoch(epoch)
        for positions, size in batches:
            assert len(positions) == size
            losses, penalty = plain.losses(
                TokenTower(backbone, 100), IMAGES.embeddings[positions], IMAGES.labels[positions]
            )
            optimiser.zero_grad()
            (losses.mean() + penalty).backward()
            optimiser.step()
    assert torch.allclose(learner.context.vectors, plain.context.vectors, atol=1e-6)


@pytest.mark.parametrize("make", [learner_fakes.coop, learner_fakes.cocoop, learner_fakes.lsn])
def test_training_lowers_the_loss_and_touches_its_own_parameters_alone(backbone, tmp_path, make):
    before_tower = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    learner = learner_fakes.built(make(recipe_knobs={"num_epochs": 12}), backbone, seed=LIVE_SEED)
    own = {id(parameter) for parameter in learner.own_parameters()}
    before = {name: parameter.detach().clone() for name, parameter in learner.named_parameters()}
    rows = trained(tmp_path, backbone, learner)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert [row["epoch"] for row in rows] == list(range(1, 13))
    for name, parameter in learner.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) not in own), name
    assert all(torch.equal(tensor, before_tower[name]) for name, tensor in backbone.state_dict().items())


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_state_alone(backbone, tmp_path):
    before = torch.random.get_rng_state()  # of Python's own generator beartype draws
    contexts = []
    for i, seed in enumerate((0, 0, 1)):
        learner = learner_fakes.built(learner_fakes.lsn(), backbone)
        trained(tmp_path / str(i), backbone, learner, seed=seed)
        contexts.append(learner.context.vectors.detach())
    assert torch.equal(contexts[0], contexts[1])
    assert not torch.equal(contexts[0], contexts[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("make", [learner_fakes.coop, learner_fakes.lsn])
@pytest.mark.parametrize("num_epochs", [0, 2])
def test_a_resumed_run_equals_an_uninterrupted_one(backbone, tmp_path, monkeypatch, make, num_epochs):
    whole = learner_fakes.built(make(recipe_knobs={"num_epochs": 5}), backbone)
    rows = trained(tmp_path / "whole", backbone, whole)
    with monkeypatch.context() as patch, pytest.raises(Interrupt):
        stop_after(patch, num_epochs)
        trained(tmp_path / "stopped", backbone, learner_fakes.built(make(recipe_knobs={"num_epochs": 5}), backbone))
    state = tmp_path / "stopped/states" / f"{whole.name}.safetensors"
    assert TrainingState.read(state, whole.own_parameters()).num_epochs == num_epochs
    resumed = learner_fakes.built(make(recipe_knobs={"num_epochs": 5}), backbone)
    assert trained(tmp_path / "stopped", backbone, resumed) == rows
    assert torch.equal(resumed.context.vectors, whole.context.vectors)
    assert (tmp_path / "stopped/curves.csv").read_bytes() == (tmp_path / "whole/curves.csv").read_bytes()


def test_a_stage_that_was_finished_is_not_trained_again(backbone, tmp_path, monkeypatch):
    first = learner_fakes.built(learner_fakes.coop(), backbone)
    rows = trained(tmp_path, backbone, first)
    stop_after(monkeypatch, 0)
    again = learner_fakes.built(learner_fakes.coop(), backbone)
    assert trained(tmp_path, backbone, again) == rows
    assert torch.equal(again.context.vectors, first.context.vectors)


def test_no_epochs_leave_the_context_as_it_begins(backbone, tmp_path):
    learner = learner_fakes.built(learner_fakes.coop(recipe_knobs={"num_epochs": 0}), backbone)
    before = learner.context.vectors.detach().clone()
    assert trained(tmp_path, backbone, learner) == []
    assert torch.equal(learner.context.vectors, before)


def test_a_loss_that_is_not_finite_stops_at_the_last_good_epoch(backbone, tmp_path, monkeypatch):
    learner = learner_fakes.built(learner_fakes.coop(recipe_knobs={"num_epochs": 5}), backbone)
    losses = type(learner).losses
    calls = []

    def broken(self, *arguments):
        calls.append(len(calls))
        values, penalty = losses(self, *arguments)
        return values * (torch.nan if len(calls) > 7 else 1), penalty  # three steps an epoch

    monkeypatch.setattr(type(learner), "losses", broken)
    with pytest.raises(UserError, match="epoch 3 of 5"):
        trained(tmp_path, backbone, learner)
    state = TrainingState.read(tmp_path / "states/coop.safetensors", learner.own_parameters())
    assert state.num_epochs == 2
    assert torch.equal(learner.context.vectors, state.parameters[0])
    assert state.parameters[0].isfinite().all()


def test_damage_by_the_last_step_is_found(backbone, tmp_path, monkeypatch):
    learner = learner_fakes.built(learner_fakes.coop(recipe_knobs={"num_epochs": 1}), backbone)

    def spoil(self, *arguments):
        with torch.no_grad():
            learner.context.vectors.fill_(torch.inf)

    monkeypatch.setattr(PromptLearningModule, "on_train_batch_end", spoil)
    with pytest.raises(UserError, match="epoch 1 of 1"):
        trained(tmp_path, backbone, learner)
    assert (
        TrainingState.read(tmp_path / "states/coop.safetensors", learner.own_parameters()).num_epochs == 0
    )  # nothing of it is kept


def test_ctrl_c_is_ctrl_c(backbone, tmp_path, monkeypatch):
    def pressed(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(EpochKeeper, "on_train_epoch_start", pressed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, backbone, learner_fakes.built(learner_fakes.coop(), backbone))


def test_batches_are_the_epochs_and_whole_for_any_number_of_ranks(monkeypatch):
    batches = EpochBatches(10, 4, 5, 0)
    first = [positions for positions, _ in batches]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert [len(positions) for positions in first] == [4, 4, 2] and len(batches) == 3
    batches.set_epoch(1)
    second = [positions for positions, _ in batches]
    assert torch.cat(first).tolist() != torch.cat(second).tolist()
    resumed = EpochBatches(10, 4, 5, 1)
    resumed.set_epoch(0)
    assert all(torch.equal(a, b) for a, (b, _) in zip(second, resumed, strict=True))
    shares = []
    for rank in range(3):
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
        shares.append(list(resumed))
    for i in range(3):
        assert {size for _, size in (share[i] for share in shares)} == {len(second[i])}
        assert sorted(torch.cat([share[i][0] for share in shares]).tolist()) == sorted(second[i].tolist())


@pytest.mark.slow
def test_two_processes_train_what_one_does(backbone, tmp_path):
    learners, backbone = [], learner_fakes.in_float64(backbone)  # float32 rounds to 4e-6 within three epochs
    for devices in (ONE, Devices("cpu", 2, "ddp_spawn", progress_bar=False)):
        learner = learner_fakes.built(learner_fakes.coop(), backbone)
        rows = trained(tmp_path / str(len(learners)), backbone, learner, devices=devices)
        assert len(rows) == 3
        learners.append(learner)
    assert torch.allclose(learners[0].context.vectors, learners[1].context.vectors, atol=1e-6)


def state_of(shape=(2, 3)):
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(shape, generator=generator))
    optimiser = {0: {"exp_avg": torch.randn(shape, generator=generator), "step": torch.tensor(4.0)}}
    return TrainingState(1, [parameter], optimiser, [{"stage": "coop", "epoch": 1, "loss": 0.5}]), [parameter]


def test_a_state_comes_back_as_it_was(tmp_path):
    state, parameters = state_of()
    state.write(tmp_path / "state")
    read = TrainingState.read(tmp_path / "state", parameters)
    assert (read.num_epochs, read.curves) == (1, state.curves)
    assert isinstance(read.curves[0]["epoch"], int)
    assert torch.equal(read.parameters[0], parameters[0])
    assert torch.equal(read.optimiser[0]["exp_avg"], state.optimiser[0]["exp_avg"])


def test_a_damaged_state_is_no_state(tmp_path):
    """Of another shape, not finite, and with any one bit flipped."""
    path, (state, parameters) = tmp_path / "state", state_of()
    path.write_bytes(b"half a file")
    assert TrainingState.read(path, parameters).num_epochs == 0
    state_of((3, 2))[0].write(path)
    assert TrainingState.read(path, parameters).num_epochs == 0
    state.optimiser[0]["exp_avg"][0, 0] = torch.inf
    state.write(path)
    assert TrainingState.read(path, parameters).num_epochs == 0
    state_of()[0].write(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert TrainingState.read(path, parameters).num_epochs == 0, place


def test_a_precision_that_is_not_there_is_said(backbone, tmp_path):
    learner = learner_fakes.built(learner_fakes.coop(), backbone)
    with pytest.raises(UserError, match=r"learn\.precision=7-bit"):
        trained(tmp_path, backbone, learner, precision="7-bit")
