"""Local embeddings against the official formulas, written out slowly; on random weights."""

import copy

import fakes
import open_clip
import pytest
import torch
from backbone import tiny_transformers
from reference import patches as reference

from neglab.backbone.huggingface import HuggingFaceBackbone
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.types import UserError
from neglab.weights import prototypes
from neglab.weights.patches import PatchEncoding

PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
DEEP = {"layers": 2, "patch_size": 8}
RESNET = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 64, "head_width": 64}


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory):
    """A transformer of two blocks, 16 patches and two heads."""
    return fakes.write_tiny_model(tmp_path_factory.mktemp("deep"), vision_cfg=DEEP)


def load(model, precision="fp32", compile=False):
    return OpenCLIPBackbone(model, None, precision, "error", "model", compile)


@pytest.fixture(scope="module")
def deep(deep_model):
    return load(deep_model)


@torch.no_grad()
def test_a_transformers_patches_keep_to_themselves_in_the_last_block(deep):
    weights = {name: tensor.double() for name, tensor in deep.network.visual.state_dict().items()}
    found = deep.encode_patches(PIXELS)
    assert found.shape == (2, 16, 16)
    for pixels, rows in zip(PIXELS, found, strict=True):
        expected = reference.transformer_patches(weights, pixels.double(), 8, 2, 2)
        assert torch.allclose(rows, torch.stack(expected).float(), atol=1e-5)


@torch.no_grad()
def test_the_reference_gives_the_librarys_embedding_of_the_image(deep):
    weights = {name: tensor.double() for name, tensor in deep.network.visual.state_dict().items()}
    expected = reference.transformer_image(weights, PIXELS[0].double(), 8, 2, 2)
    assert torch.allclose(deep.encode_image(PIXELS)[0], expected.float(), atol=1e-5)


@torch.no_grad()
def test_to_encode_patches_changes_nothing_of_the_image(deep):
    before = deep.encode_image(PIXELS)
    deep.encode_patches(PIXELS)
    assert torch.equal(deep.encode_image(PIXELS), before)
    assert not deep.network.visual.transformer.resblocks[-1]._forward_pre_hooks


@torch.no_grad()
def test_a_change_in_one_patch_reaches_all_others_through_the_earlier_blocks_alone(deep, tiny_model):
    for backbone, others_change in ((deep, True), (load(tiny_model), False)):
        changed = PIXELS.clone()
        changed[:, :, :8, :8] += 1
        size = (backbone.encode_patches(changed) - backbone.encode_patches(PIXELS)).abs().amax(dim=(0, 2))
        assert size[0] > 1e-3
        assert bool((size[1:] > 1e-6).all()) == others_change


@torch.no_grad()
def test_a_resnets_places_are_projected_values(tmp_path):
    backbone = load(fakes.write_tiny_model(tmp_path, vision_cfg=RESNET))
    visual = backbone.network.visual
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    features = visual.stem(pixels)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        features = layer(features)
    found = backbone.encode_patches(pixels)
    assert found.shape == (2, 4, 16)
    for own, rows in zip(features, found, strict=True):
        expected = reference.resnet_places(visual.state_dict(), own)
        assert torch.allclose(rows, torch.stack(expected), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["clip", "altclip"])
def test_transformers_clip_equals_the_same_weights_in_open_clip(tmp_path, family):
    """CLIP's tower in both libraries: the weights of one are put into the other."""
    folder = tiny_transformers.save(tmp_path, family)
    backbone = HuggingFaceBackbone(str(folder), None, 100.0, "fp32", "error", "model", False)
    theirs, pixels = backbone.network.vision_model, PIXELS
    vision = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 2, "heads": 2, "mlp_ratio": 2.0}
    ours = open_clip.transformer.VisionTransformer(**vision, output_dim=16).eval()
    _copy_weights(theirs, backbone.network.visual_projection, ours)
    ours.transformer.resblocks.apply(lambda part: _activation(part, theirs))
    twin = PatchEncoding()
    twin.network, twin.dtype = torch.nn.Module(), torch.float32
    twin.network.visual = ours
    assert torch.allclose(ours(pixels), backbone.encode_image(pixels), atol=1e-5)
    assert torch.allclose(twin.encode_patches(pixels), backbone.encode_patches(pixels), atol=1e-5)


def _copy_weights(theirs, projection, ours):
    embeddings = theirs.embeddings
    pairs = [
        (ours.class_embedding, embeddings.class_embedding),
        (ours.positional_embedding, embeddings.position_embedding.weight),
        (ours.conv1.weight, embeddings.patch_embedding.weight),
        (ours.proj, projection.weight.T),
    ]
    norms = [(ours.ln_pre, theirs.pre_layrnorm), (ours.ln_post, theirs.post_layernorm)]
    for own, other in zip(ours.transformer.resblocks, theirs.encoder.layers, strict=True):
        norms += [(own.ln_1, other.layer_norm1), (own.ln_2, other.layer_norm2)]
        norms += [(own.mlp.c_fc, other.mlp.fc1), (own.mlp.c_proj, other.mlp.fc2)]
        attention = other.self_attn
        norms.append((own.attn.out_proj, attention.out_proj))
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        pairs.append((own.attn.in_proj_weight, torch.cat([part.weight for part in parts])))
        pairs.append((own.attn.in_proj_bias, torch.cat([part.bias for part in parts])))
    pairs += [(a.weight, b.weight) for a, b in norms] + [(a.bias, b.bias) for a, b in norms]
    for target, source in pairs:
        target.copy_(source)


def _activation(part, theirs):
    if hasattr(part, "mlp"):
        part.mlp.gelu = copy.deepcopy(theirs.encoder.layers[0].mlp.activation_fn)


@torch.no_grad()
def test_the_shipped_towers_places_vote_alone():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = prototypes.PrototypeTower(num_classes=3, num_drawn=2, embedding_dim=5, num_sketchers=2).eval()
    images = torch.rand(1, 3, 96, 96) * 2 - 1
    found = tower.encode_patches(images)[0]
    photographed = tower.photographs.forward_features(images)[0]
    drawn = torch.cat([trunk.forward_features(tower.small(images))[0] for trunk in tower.drawings])
    assert (photographed.shape[1:], drawn.shape[1:], len(found)) == ((3, 3), (2, 2), 9)
    for y in range(3):
        for x in range(3):
            logits = tower.key.weight @ photographed[:, y, x] + tower.key.bias
            logits[3:] += tower.drawn_key.weight @ drawn[:, 2 * y // 3, 2 * x // 3]
            among_texts = torch.nn.functional.normalize(tower.value.weight @ logits.softmax(0), dim=0)
            assert torch.allclose(found[3 * y + x][:4], 0.25 * among_texts, atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(9), atol=1e-6)


def test_half_precision_and_compiled_towers_have_patches(deep_model, deep):
    exact = deep.encode_patches(PIXELS)
    assert torch.allclose(load(deep_model, "bf16").encode_patches(PIXELS), exact, atol=0.1)
    assert torch.equal(load(deep_model, compile=True).encode_patches(PIXELS), exact)


@pytest.mark.parametrize("vision_cfg", [{"pool_type": "avg"}, {"attentional_pool": True}])
def test_other_poolings_are_refused(tmp_path, vision_cfg):
    backbone = load(fakes.write_tiny_model(tmp_path, vision_cfg=vision_cfg))
    assert not backbone.has_patches
    with pytest.raises(UserError, match=r"patches lie where its texts do.*backbone=clip_vit_b16"):
        backbone.encode_patches(PIXELS)


@pytest.mark.parametrize("family", ["groupvit", "align"])
def test_other_towers_of_transformers_are_refused(tmp_path, family):
    folder = tiny_transformers.save(tmp_path, family)
    backbone = HuggingFaceBackbone(str(folder), None, 100.0, "fp32", "error", "model", False)
    with pytest.raises(UserError, match="patches lie where its texts do"):
        backbone.check_patches()
