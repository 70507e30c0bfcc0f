"""Passes on a Ray cluster: the wiring with a stand-in for Ray, and two nodes of Ray itself."""

import os
import signal
import sys
from importlib.metadata import version
from types import ModuleType, SimpleNamespace

import fakes
import pytest
import torch

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.image_folder import ImageFolder
from neglab.embedding import ray_devices
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.module import EmbeddingBatch, EmbeddingModule
from neglab.embedding.ray_devices import RayDevices, as_batch, as_row
from neglab.embedding.store import Store
from neglab.passes import part_writer, ray_cluster
from neglab.passes.prediction import Devices
from neglab.passes.ray_cluster import check_versions, joined, told
from neglab.prompt.templates import PromptTemplates
from neglab.types import UserError, Words

WORDS = Words.nouns([f"word {'x ' * (i % 5)}{i}" for i in range(30)])
ONE = Devices("cpu", 1, "auto", progress_bar=False)


def on_ray(**options):
    settings = {"actors": "auto", "gpus_per_actor": "auto", "cpus_per_actor": 1.0, "patience": 60.0, **options}
    return RayDevices(accelerator="cpu", devices=1, strategy="auto", progress_bar=False, **settings)


@pytest.fixture
def make(tiny_model, tmp_path):
    def build(devices, store, max_unreadable=1, **options):
        backbone = OpenCLIPBackbone(tiny_model, None, "fp32", "error", "model", False)
        loading = Loading(4, 8, 0, max_unreadable, 16, **options)
        return Embedder(backbone, PromptTemplates(["{}"], ["{}"], True), Store(tmp_path / store), devices, loading)

    return build


@pytest.fixture
def pictures(tmp_path):
    """Ten pictures and a file that is none."""
    fakes.write_pictures(tmp_path / "pictures", 10)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    return ImageFolder(str(tmp_path / "pictures"), False, None, None, None)


class Table:
    """What this code uses of a Ray dataset, in one process and in the worst order."""

    def __init__(self, rows):
        self.rows = rows

    def map_batches(self, work, batch_size, fn_kwargs=None, fn_constructor_args=None, **options):
        assert batch_size == 1
        if isinstance(work, type):
            assert options["num_gpus"] == 0 and options["compute"] == (1, 2)
            work = work(*fn_constructor_args)
        return Table([work(row, **(fn_kwargs or {})) for row in reversed(self.rows)])

    def iter_rows(self):
        return iter([{name: column[0] for name, column in row.items()} for row in self.rows])


class StandsStillError(Exception):
    pass


def module(**content):
    made = ModuleType("ray")
    vars(made).update(content)
    return made


@pytest.fixture
def stand_in(monkeypatch):
    """In the place of Ray, a cluster of four CPUs."""
    import numpy as np

    class NoError(Exception):
        pass

    ray = module(
        put=lambda value: SimpleNamespace(value=value),
        get=lambda reference: reference.value,
        cluster_resources=lambda: {"CPU": 4.0},
        exceptions=SimpleNamespace(RayError=NoError),
        data=SimpleNamespace(
            range=lambda n, override_num_blocks: Table([{"id": np.array([i])} for i in range(n)]),
            ActorPoolStrategy=lambda min_size, max_size: (min_size, max_size),
            DataContext=SimpleNamespace(get_current=SimpleNamespace),
            exceptions=SimpleNamespace(SystemException=NoError, ExecutionTimeoutError=StandsStillError),
        ),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_devices, "joined", lambda: ray)
    monkeypatch.setattr(ray_devices, "check_versions", lambda ray: None)
    monkeypatch.setattr(ray_devices, "_held", ray.get)
    return ray


def same_embeddings(make, pictures, devices):
    results = []
    for store, chosen in (("one", ONE), ("ray", devices)):
        images, (labels,) = make(chosen, store).embed({"set": pictures}, [WORDS])
        results.append((images["set"].embeddings, labels.embeddings, images["set"].paths))
    assert len(results[0][2]) == 10
    return all(torch.equal(*pair) for pair in zip(*(result[:2] for result in results), strict=True)) and (
        results[0][2] == results[1][2]
    )


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_what_comes_back_in_any_order_equals_one_process_bit_for_bit(make, pictures, stand_in):
    assert same_embeddings(make, pictures, on_ray())


def test_finished_batches_are_kept_when_a_pass_ends_early(make, pictures, stand_in, monkeypatch):
    monkeypatch.setattr(part_writer, "PART_BYTES", 0)
    rows = Table.iter_rows

    def breaks_off(table):
        yield from list(rows(table))[:3]
        raise RuntimeError("lost")

    monkeypatch.setattr(Table, "iter_rows", breaks_off)
    with pytest.raises(RuntimeError, match="lost"):
        make(on_ray(), "store").embed({"set": pictures}, [WORDS])
    monkeypatch.setattr(Table, "iter_rows", rows)
    resumed, batches = make(on_ray(), "store"), []
    monkeypatch.setattr(ray_devices, "as_row", lambda batch: batches.append(batch) or as_row(batch))
    resumed.embed({"set": pictures}, [WORDS])
    whole = -(-11 // 4) + -(-30 // 8)
    assert len(batches) == whole - 3


@pytest.mark.parametrize(
    "batch",
    [
        EmbeddingBatch(
            "images", torch.arange(3), torch.tensor([True, False, True]), torch.rand(2, 3, 4, 4), None, None
        ),
        EmbeddingBatch(
            "nothing", torch.arange(1), torch.zeros(1, dtype=torch.bool), torch.empty(0, 3, 1, 1), None, None
        ),
        EmbeddingBatch(
            "texts",
            torch.arange(2),
            torch.ones(2, dtype=torch.bool),
            None,
            torch.ones(2, 5).long(),
            torch.tensor([3, 4]),
        ),
    ],
)
def test_a_batch_travels_unchanged(batch):
    for before, after in zip(batch, as_batch({name: column for name, column in as_row(batch).items()}), strict=True):
        assert (before == after) if before is None or isinstance(before, str) else torch.equal(before, after)


@pytest.mark.parametrize(
    ("there", "options", "pool"),
    [
        ({"CPU": 16.0, "GPU": 4.0}, {}, (4, 1.0)),
        ({"CPU": 16.0, "GPU": 4.0}, {"gpus_per_actor": 0.5}, (8, 0.5)),
        ({"CPU": 16.0, "GPU": 4.0}, {"gpus_per_actor": 0.0, "actors": 3}, (3, 0)),
        ({"CPU": 2.0}, {}, (1, 0.0)),
        ({"CPU": 9.0}, {"cpus_per_actor": 2.0}, (2, 0.0)),
        ({"CPU": 9.0}, {"actors": 50}, (8, 0.0)),
    ],
)
def test_how_many_actors_there_are(there, options, pool):
    made = on_ray(**options)._pool(module(cluster_resources=lambda: there), num_batches=100)
    assert (made.actors, made.gpus) == pool


@pytest.mark.parametrize(("there", "options"), [({"CPU": 1.0}, {}), ({"CPU": 8.0}, {"gpus_per_actor": 1.0})])
def test_a_cluster_that_is_too_small_is_refused(there, options):
    with pytest.raises(UserError, match=r"An actor takes 1 CPUs and .* Lower trainer.cpus_per_actor"):
        on_ray(**options)._pool(module(cluster_resources=lambda: there), num_batches=100)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Traceback ...\nneglab.errors.UserError: A text must fit.\n\nThe above exception was", r"A text must fit\."),
        ("Traceback ...\ntorch.OutOfMemoryError: CUDA out of memory", "ran out of memory.*data.image_batch_size"),
        ("Traceback ...\nray.exceptions.OutOfMemoryError: Task was killed", "ran out of memory.*goes on from there"),
        ("Traceback ...\nOSError: [Errno 28] No space left on device", "has a full disk.*goes on from there"),
        ("Traceback ...\nModuleNotFoundError: No module named 'timm'", "lacks a package: No module named 'timm'"),
        ("The actor died unexpectedly before finishing this task", "A worker of the Ray cluster is lost"),
    ],
)
def test_what_ends_a_pass_is_told_in_one_message(text, message):
    error = told(RuntimeError(text))
    assert isinstance(error, UserError)
    with pytest.raises(UserError, match=f"^[^\n]*{message}[^\n]*$"):
        raise error


def test_a_pass_that_stands_still_gives_up(make, pictures, stand_in, monkeypatch):
    monkeypatch.setattr(Table, "iter_rows", lambda table: (_ for _ in ()).throw(StandsStillError("no progress")))
    with pytest.raises(UserError, match=r"stands still.*trainer\.patience.*goes on from there"):
        make(on_ray(), "store").embed({"set": pictures}, [])


def test_an_error_of_ours_keeps_its_traceback():
    error = told(RuntimeError("Traceback ...\nKeyError: 3"))
    assert not isinstance(error, UserError) and "KeyError: 3" in str(error)


def test_images_that_another_machine_does_not_see_are_named(make, pictures, stand_in, monkeypatch):
    def blind(row, batches):
        batch = batches[0].value[int(row["id"][0])]
        if batch.images is not None:
            batch = batch._replace(readable=torch.zeros_like(batch.readable), images=batch.images[:0])
        return as_row(batch)

    monkeypatch.setattr(ray_devices, "read_batch", blind)
    with pytest.raises(UserError, match=r"must see the images at one path; .* cannot read .*picture"):
        make(on_ray(), "store").embed({"set": pictures}, [])


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'neglab\[ray\]'"):
        joined()


def test_no_cluster_at_the_address(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"RAY_ADDRESS must be that of a running Ray cluster.*127.0.0.1:1"):
        joined()


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of Ray on this machine, as a person would find them at RAY_ADDRESS."""
    pytest.importorskip("ray")
    from ray import shutdown
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs here is not the test's
    size = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    cluster.add_node(**size)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    shutdown()
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_nodes_and_a_killed_actor_give_what_one_process_gives(make, pictures, cluster, monkeypatch, tmp_path):
    """The versions of the nodes are compared, an actor dies by SIGKILL in the middle, and nothing is lost or double."""
    noted = str(tmp_path / "process")

    class Noted(EmbeddingModule):
        """The first actor that comes notes its number and dies at its next batch; what has replaced it does not."""

        def predict_step(self, batch, batch_idx):
            try:
                with open(noted, "x") as file:
                    file.write(str(os.getpid()))
            except FileExistsError:
                with open(noted) as file:
                    if int(file.read()) == os.getpid():
                        os.kill(os.getpid(), signal.SIGKILL)
            return EmbeddingModule.predict_step(self, batch, batch_idx)

    monkeypatch.setattr(Embedder, "_module", property(lambda self: Noted(self.backbone)))
    one = make(ONE, "one")
    monkeypatch.setattr(part_writer, "PART_BYTES", 0)
    several = make(on_ray(actors=2), "ray")
    images, (labels,) = several.embed({"set": pictures}, [WORDS])
    with open(noted) as file:
        assert not os.path.exists(f"/proc/{file.read()}")
    monkeypatch.undo()
    expected, (names,) = one.embed({"set": pictures}, [WORDS])
    assert torch.equal(images["set"].embeddings, expected["set"].embeddings)
    assert torch.equal(labels.embeddings, names.embeddings)
    ray = joined()
    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    monkeypatch.setattr(ray_cluster, "own_versions", lambda: {"neglab": "9.9"})
    with pytest.raises(UserError, match=f"must have neglab 9.9; .* has {version('neglab')}"):
        check_versions(ray)
    monkeypatch.setattr(ray_cluster, "own_versions", lambda: {"no-such-package": "1"})
    with pytest.raises(UserError, match=r"must have no-such-package 1; .* has none"):
        check_versions(ray)


def test_images_of_all_sizes_are_refused(make, pictures):
    with pytest.raises(UserError, match=r"one size; got data\.resize=device or .* Set both to pillow"):
        make(on_ray(), "store", decode="device").embed({"set": pictures}, [])
