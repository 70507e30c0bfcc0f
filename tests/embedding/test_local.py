"""What is kept of patches: one number each for a score, all of few images for a learner."""

import pickle

import fakes
import pytest
import torch
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.data.base import read_image
from neglab.data.image_folder import ImageFolder
from neglab.embedding.embedder import Embedder, Loading
from neglab.embedding.local import PatchEmbedder, with_local
from neglab.embedding.store import Store
from neglab.parts import MappedRows
from neglab.passes.prediction import Devices
from neglab.prompt.templates import PromptTemplates
from neglab.score.glmcm import GLMCMScore
from neglab.score.mcm import MCMScore
from neglab.types import UserError

BANK = fakes.text_bank()


@pytest.fixture
def pictures(tmp_path):
    fakes.write_pictures(tmp_path / "pictures", 10)
    return ImageFolder(str(tmp_path / "pictures"), False, None, None, None)


@pytest.fixture
def make(tiny_model, tmp_path):
    """Makes an embedder over one store, as a new run would."""

    def build(max_unreadable=0, model=tiny_model, devices=1):
        backbone = OpenCLIPBackbone(model, None, "fp32", "error", "model", False)
        strategy = "auto" if devices == 1 else "ddp_spawn"
        where = Devices("cpu", devices, strategy, progress_bar=False)
        loading = Loading(4, 8, 0, max_unreadable, 16)
        return Embedder(backbone, PromptTemplates(["{}"], ["{}"], True), Store(tmp_path / "store"), where, loading)

    return build


def expected_patches(backbone, pictures):
    """Image by image."""
    transform = backbone.image_transform()
    pixels = [read_image(source, transform) for source in pictures.images().sources]
    with torch.inference_mode():
        return torch.cat([normalize(backbone.encode_patches(image[None]), dim=2) for image in pixels])


def local(embedder, pictures, score=None, bank=BANK):
    """The embedded set with its column, and how many images the column took."""
    images, _ = embedder.embed({"set": pictures}, [])
    before = embedder.num_encoded
    found = with_local(embedder, {"set": pictures}, images, score or GLMCMScore(MCMScore(1.0), 1.0), bank)
    assert torch.equal(found["set"].embeddings[:, :16], images["set"].embeddings)
    return found["set"], embedder.num_encoded - before


def test_the_column_is_what_the_score_makes_of_the_patches(make, pictures):
    embedder = make()
    rows, _ = local(embedder, pictures)
    shares = (expected_patches(embedder.backbone, pictures) @ BANK.id_labels.embeddings.T).softmax(dim=2)
    assert torch.allclose(rows.embeddings[:, 16], shares.amax(dim=(1, 2)), atol=1e-6)


def test_it_is_kept_under_all_that_decides_it(make, pictures):
    embedder = make()
    first, count = local(embedder, pictures)
    again, none = local(embedder, pictures, GLMCMScore(MCMScore(1.0), 0.5))  # the weight joins in later
    assert (count, none) == (10, 0) and torch.equal(first.embeddings, again.embeddings)
    assert local(embedder, pictures, GLMCMScore(MCMScore(0.5), 1.0))[1] == 10
    assert local(embedder, pictures, bank=fakes.text_bank(num_classes=6))[1] == 10


def test_unreadable_images_are_left_out_of_both(make, pictures, tmp_path):
    whole, _ = local(make(), pictures)
    for i in (2, 4, 5, 6, 7):  # one of the first batch, the whole second one
        (tmp_path / f"pictures/picture{i:02d}.png").write_bytes(b"no picture")
    rows, _ = local(make(max_unreadable=5), pictures)
    kept = [0, 1, 3, 8, 9]
    assert rows.positions.tolist() == kept
    assert torch.allclose(rows.embeddings, whole.embeddings[kept], atol=1e-6)


@pytest.mark.slow
def test_several_processes_give_the_same_bits(make, pictures, tmp_path):
    one, _ = local(make(), pictures)
    Store(tmp_path / "store").root.rename(tmp_path / "earlier")
    two, _ = local(make(devices=2), pictures)
    assert torch.equal(one.embeddings, two.embeddings)


def test_whole_patches_stay_on_disk(make, pictures):
    embedder = make()
    patches = PatchEmbedder(embedder).patches(pictures)
    expected = expected_patches(embedder.backbone, pictures)
    chosen = torch.tensor([7, 0, 7, 3])
    assert patches[chosen].dtype == torch.float16
    assert torch.allclose(patches[chosen].float(), expected[chosen], atol=1e-3)
    assert torch.equal(patches[torch.arange(10)][chosen], patches[chosen])
    travelled = pickle.dumps(patches)
    assert len(travelled) < 1000 and torch.equal(pickle.loads(travelled)[chosen], patches[chosen])


def test_patches_are_encoded_once_and_a_lost_part_again(make, pictures):
    first = PatchEmbedder(make())
    patches = first.patches(pictures)
    whole = patches[torch.arange(10)]
    again = PatchEmbedder(make())
    again.patches(pictures)
    assert (first.num_encoded, again.num_encoded) == (10, 0)
    (part,) = patches.folder.glob("*.safetensors")
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    mended = PatchEmbedder(make())
    assert torch.equal(mended.patches(pictures)[torch.arange(10)], whole)
    assert mended.num_encoded == 10


def test_rows_that_are_not_whole_are_no_rows(make, pictures):
    patches = PatchEmbedder(make()).patches(pictures)
    with pytest.raises(RuntimeError, match="each of 11 rows once; it holds 10"):
        MappedRows(patches.folder, type(patches.fits)(11, patches.fits.shape, torch.float16))


def test_a_tower_without_patches_is_refused_before_any_pass(make, pictures, tmp_path):
    embedder = make(model=fakes.write_tiny_model(tmp_path / "model", vision_cfg={"pool_type": "avg"}))
    with pytest.raises(UserError, match="looks at the patches"):
        PatchEmbedder(embedder)
