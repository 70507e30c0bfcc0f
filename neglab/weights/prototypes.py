"""An image tower made of classifiers: their classes are prototypes that vote for where an image lies among words."""

import math
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.models import register_model
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad

NUM_CLASSES, NUM_DRAWN = 1000, 2416  # of the shipped model: ImageNet's classes, and things that its drawings show
NUM_SKETCHERS = 2  # its trunks of drawings, trained apart: together they are surer than each
PHOTOGRAPHS, DRAWINGS = "tf_efficientnet_lite0", "resnet10t"
DRAWING_SIZE = 64  # pixels: what drawings are learned at
# How much of an image's embedding lies where texts do; the rest is one coordinate that no text has. CLIP's modalities
# lie apart too: a matching pair has a cosine near 0.25, for which the temperatures that methods publish were found.
TEXT_SHARE = 0.25
# From images scaled to [-1, 1] to those that the trunks of drawings know, normalised as CLIP's.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class PrototypeTower(nn.Module):
    """Trunks of photographs and of drawings, whose joint class probabilities weigh one embedding per class.

    Args:
        num_classes: of photographs.
        num_drawn: things that drawings show; the trunks of drawings have a say in these alone.
        embedding_dim: D.
        num_sketchers: trunks of drawings.

    Shapes: images [B, 3, H, W], scaled to [-1, 1], to embeddings [B, D] at unit length.

    Source: Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings" (ConSE), ICLR 2014, Eq. 3.
    Differs: all classes vote, not the ten likeliest; some are things that drawings show, beside ImageNet's; and images
        lie apart from texts, as CLIP's do (Liang et al., "Mind the Gap", 2022).
    """

    photographs: Any
    drawings: Any
    mean: Tensor
    std: Tensor

    def __init__(self, num_classes: int, num_drawn: int, embedding_dim: int, num_sketchers: int) -> None:
        super().__init__()
        self.photographs = timm.create_model(PHOTOGRAPHS, num_classes=0)
        self.drawings = nn.ModuleList(timm.create_model(DRAWINGS, num_classes=0) for _ in range(num_sketchers))
        self.key = nn.Linear(self.photographs.num_features, num_classes + num_drawn)
        self.drawn_key = nn.Linear(sum(trunk.num_features for trunk in self.drawings), num_drawn, bias=False)
        self.value = nn.Linear(num_classes + num_drawn, embedding_dim - 1, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # a CPU is half as fast again

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        images = images.contiguous(memory_format=torch.channels_last)
        small = self.small(images)
        drawn = torch.cat([trunk(small) for trunk in self.drawings], dim=1)
        return self._embedded(self.key(self.photographs(images)), self.drawn_key(drawn))

    def encode_patches(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B P D"]:
        """Embeddings of the places that the trunk of photographs tells apart, row by row from the top left.

        The votes are taken at each place, before the trunks pool them. The trunks of drawings have larger places, each
        of which counts for all those within it.

        Source: ours, after the class activation maps of Zhou et al., "Learning Deep Features for Discriminative
            Localization", CVPR 2016.
        """
        images = images.contiguous(memory_format=torch.channels_last)
        photographed = self.photographs.forward_features(images)
        small = self.small(images)
        drawn = torch.cat([trunk.forward_features(small) for trunk in self.drawings], dim=1)
        drawn = interpolate(drawn, size=photographed.shape[2:])
        photographed, drawn = (places.flatten(2).transpose(1, 2) for places in (photographed, drawn))
        return self._embedded(self.key(photographed), self.drawn_key(drawn))

    def _embedded(self, logits: Float[Tensor, "*B N"], drawn: Float[Tensor, "*B K"]) -> Float[Tensor, "*B D"]:
        """Where the classes' joint probabilities put an image, or a place of one."""
        logits = torch.cat([logits[..., : -drawn.shape[-1]], logits[..., -drawn.shape[-1] :] + drawn], dim=-1)
        among_texts = TEXT_SHARE * normalize(self.value(logits.softmax(dim=-1)), dim=-1)
        return pad(among_texts, (0, 1), value=math.sqrt(1 - TEXT_SHARE**2))

    def small(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 S S"]:
        """What the trunks of drawings see."""
        small = interpolate(images, size=(DRAWING_SIZE, DRAWING_SIZE), mode="bilinear", antialias=True)
        return ((small / 2 + 0.5 - self.mean) / self.std).to(images.dtype)


@register_model
def neglab_prototypes(pretrained: bool = False, num_classes: int = 256, **options: Any) -> PrototypeTower:
    """The tower under a name of timm, so that open_clip builds it from a folder in its own format like any other.

    Args:
        pretrained: not used: the weights stand in the folder.
        num_classes: D; timm's name for what comes out.
        options: of timm, such as `global_pool`; not used.
    """
    return PrototypeTower(NUM_CLASSES, NUM_DRAWN, num_classes, NUM_SKETCHERS)
