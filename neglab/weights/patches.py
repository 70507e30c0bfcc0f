"""What an image tower says of each patch of an image: local embeddings, in the space of its texts.

A transformer's last block mixes the patches into the class token. Without its attention, on the path of its values
alone, each patch keeps to itself and still goes where the texts are.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from neglab.errors import UserError
from neglab.weights.image_input import ImageInput
from neglab.weights.pixels import Pictures, Pixels

Road = Callable[[Any, Tensor], Tensor]  # of a network and transformed images to embeddings [B, P, D]


class PatchEncoding(ImageInput):
    """The part of a backbone that encodes patches; whether there is one hangs on the architecture of its image tower.

    Attributes:
        network: the library's model.

    Source: GL-MCM (Miyai et al., IJCV 2025), official code at 8708a08, clip/model.py, after MaskCLIP (Zhou et al., ECCV
        2022).
    """

    network: Any

    @property
    def has_patches(self) -> bool:
        """The image tower has local embeddings."""
        return _road(self.network) is not None

    def check_patches(self) -> None:
        """Raise a UserError where the image tower has no local embeddings."""
        if not self.has_patches:
            raise UserError(
                "This method looks at the patches of an image, which takes an image tower whose patches lie where its "
                "texts do: a CLIP with a plain vision transformer or CLIP's own ResNet; this backbone's pools them "
                "otherwise. Choose another backbone, such as backbone=clip_vit_b16 or backbone=mini."
            )

    def encode_patches(self, images: Pixels | Pictures) -> Float[Tensor, "B P D"]:
        """Embeddings of the P patches of transformed images, row by row from the top left; as the tower gives them.

        Raises:
            UserError: the image tower has none.
        """
        self.check_patches()
        road = _road(self.network)
        assert road is not None
        return road(self.network, self.as_input(images)).float()


def _road(network: Any) -> Road | None:
    """How this network's patches are encoded. Classes are told by their names: neither library is imported here."""
    visual: Any = getattr(network, "visual", None)
    kind, own = type(visual).__name__, type(network).__name__
    if kind == "VisionTransformer" and _reads_class_token(visual):
        return _of_open_clip_transformer
    if kind == "ModifiedResNet":
        return _of_resnet
    if kind == "TimmModel" and hasattr(visual.trunk, "encode_patches"):
        return _of_shipped_tower
    if own in ("CLIPModel", "AltCLIPModel"):
        return _of_transformers_clip
    return None


def _reads_class_token(visual: Any) -> bool:
    """Whether an image's embedding is its class token, normed and projected; other poolings put texts elsewhere."""
    plain = visual.attn_pool is None and visual.pool_type == "tok" and not visual.final_ln_after_pool
    attention = getattr(visual.transformer.resblocks[-1], "attn", None)
    return plain and isinstance(attention, nn.MultiheadAttention) and attention.in_proj_weight is not None


def _of_open_clip_transformer(network: Any, images: Tensor) -> Tensor:
    visual = network.visual
    block = visual.transformer.resblocks[-1]
    tokens = _entering(block, visual, images)
    if not block.attn.batch_first:
        tokens = tokens.transpose(0, 1)
    _, _, weight = block.attn.in_proj_weight.chunk(3)
    _, _, bias = block.attn.in_proj_bias.chunk(3)
    patches = tokens[:, 1:]
    patches = patches + block.ls_1(block.attn.out_proj(linear(block.ln_1(patches), weight, bias)))
    patches = patches + block.ls_2(block.mlp(block.ln_2(patches)))
    return visual.ln_post(patches) @ visual.proj


def _of_resnet(network: Any, images: Tensor) -> Tensor:
    pool = network.visual.attnpool
    places = _entering(pool, network.visual, images).flatten(2).transpose(1, 2)
    return pool.c_proj(pool.v_proj(places))


def _of_shipped_tower(network: Any, images: Tensor) -> Tensor:
    return network.visual.trunk.encode_patches(images)


def _of_transformers_clip(network: Any, images: Tensor) -> Tensor:
    visual = network.vision_model
    block = visual.encoder.layers[-1]
    patches = _entering(block, visual, images)[:, 1:]
    patches = patches + block.self_attn.out_proj(block.self_attn.v_proj(block.layer_norm1(patches)))
    patches = patches + block.mlp(block.layer_norm2(patches))
    return network.visual_projection(visual.post_layernorm(patches))


class _ReachedError(Exception):
    """What was waited for has come."""


def _entering(part: nn.Module, tower: nn.Module, images: Tensor) -> Tensor:
    """What enters the last part of a tower; the part itself and what follows do not run."""
    caught: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
        caught.append(args[0])
        raise _ReachedError

    hook = part.register_forward_pre_hook(stop)
    try:
        tower.forward(images)  # not the tower itself: compiled code does not see the hook
    except _ReachedError:
        return caught[0]
    finally:
        hook.remove()
    raise RuntimeError(f"{type(tower).__name__} does not run its last part, {type(part).__name__}")
