"""The shipped model's image tower, against ConSE in plain words."""

import open_clip
import torch
from torch.nn.functional import normalize

from neglab.weights import prototypes
from neglab.weights.prototypes import PrototypeTower


@torch.no_grad()
def test_prototypes_vote_with_their_shares():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = PrototypeTower(num_classes=3, num_drawn=2, embedding_dim=5, num_sketchers=2).eval()
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    for image, embedding in zip(images, tower(images), strict=True):
        photographed = tower.photographs(image[None])[0]
        drawn = [trunk(tower.small(image[None]))[0] for trunk in tower.drawings]
        logits = [tower.key.weight[k] @ photographed + tower.key.bias[k] for k in range(5)]
        for k in range(2):
            says = [key @ seen for key, seen in zip(tower.drawn_key.weight[k].chunk(2), drawn, strict=True)]
            logits[3 + k] = logits[3 + k] + sum(says)
        shares = torch.stack(logits).exp() / torch.stack(logits).exp().sum()
        place = normalize(sum(share * tower.value.weight[:, k] for k, share in enumerate(shares)), dim=0)
        assert torch.allclose(embedding[:4], 0.25 * place, atol=1e-5)
        assert torch.allclose(embedding.norm(), torch.tensor(1.0), atol=1e-6)


def test_what_the_trunks_of_drawings_see():
    tower = PrototypeTower(2, 2, 5, 1)
    white = tower.small(torch.ones(1, 3, 160, 160))
    assert white.shape == (1, 3, 64, 64)
    expected = (1 - torch.tensor(prototypes.MEAN)) / torch.tensor(prototypes.STD)
    assert torch.allclose(white[0, :, 32, 32], expected, atol=1e-5)


def test_open_clip_builds_it_by_name():
    vision = {"timm_model_name": "neglab_prototypes", "timm_pool": "avg", "timm_proj": "", "image_size": 64}
    text = {"width": 16, "heads": 2, "layers": 1}
    model = open_clip.model.CustomTextCLIP(embed_dim=257, vision_cfg=vision, text_cfg=text)
    assert isinstance(model.visual.trunk, PrototypeTower)
    assert model.visual.trunk.value.out_features == 256
