"""Small stand-ins: label sets of random directions, a tiny random open_clip model, folders of pictures."""

import csv
import json
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

from neglab.backbone.base import Backbone
from neglab.detector import Detector
from neglab.detector.saved import Recipe
from neglab.score.neglabel import NegLabelScore
from neglab.types import LabelSet, TextBank

TINY_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
PREPROCESS = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "size": 32,
}


def unit(count, dim=16, seed=0):
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def label_set(count, dim=16, seed=0, num_adjectives=0, prefix="word"):
    kinds = ("noun",) * (count - num_adjectives) + ("adjective",) * num_adjectives
    return LabelSet(tuple(f"{prefix} {i}" for i in range(count)), kinds, unit(count, dim, seed), (None,) * count)


def named(nouns, adjectives=(), dim=16):
    """A label set that has names alone."""
    count, kinds = len(nouns) + len(adjectives), ("noun",) * len(nouns) + ("adjective",) * len(adjectives)
    return LabelSet((*nouns, *adjectives), kinds, torch.zeros(count, dim), (None,) * count)


def text_bank(num_classes=5, num_negatives=23, dim=16):
    return TextBank(label_set(num_classes, dim, 1, prefix="class"), label_set(num_negatives, dim, 2), 100.0)


def write_tiny_model(folder: Path, seed=0, vision_cfg=None, **text_cfg) -> str:
    """A folder in open_clip's own format with random weights; returns its model name."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**TINY_MODEL, "text_cfg": {**TINY_MODEL["text_cfg"], **text_cfg}}
    config["vision_cfg"] = {**config["vision_cfg"], **(vision_cfg or {})}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    settings = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    return f"local-dir:{folder}"


def write_pictures(folder: Path, count: int, seed=0) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    paths = []
    for i in range(count):
        pixels = torch.randint(0, 255, (40, 36, 3), generator=generator, dtype=torch.uint8)
        paths.append(folder / f"picture{i:02d}.png")
        Image.fromarray(pixels.numpy()).save(paths[-1])
    return paths


class PixelBackbone(Backbone):
    """Embeds a picture by fixed random directions of its 8 x 8 pixels; knows no text."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.embedding_dim, self.logit_scale, self.compiled, self.dtype = 16, 100.0, False, torch.float32
        self.precision, self.fingerprint = "fp32", "of pixels"
        self.register_buffer("directions", torch.randn(192, 16, generator=torch.Generator().manual_seed(4)))
        self._transform = Compose([Resize((8, 8)), ToTensor(), Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

    def _encode_images(self, images):
        return images.flatten(1) @ self.directions

    def _prepare_here(self):
        pass

    def _none(self, *arguments):
        raise AssertionError("it knows no text")

    embed_tokens = _full_ids = _num_tokens = _library_road = _shortened_road = _towers = _token_table = _none


def pixel_detector(scorer=None, bank=None):
    """A detector that loads nothing and takes no time."""
    scorer, bank = scorer or NegLabelScore(4, 0.01, 0), bank or text_bank()
    recipe = Recipe("neglabel", {"backbone": {"model": "pixels"}, "prompt": {}, "score": {}}, 8, 8, 8, "of pixels")
    return Detector(PixelBackbone(), None, scorer, bank, recipe, "cpu")


class NoEncoder:
    """A TextEncoder that must not be asked: for methods that need none."""

    def _refuse(self, *arguments):
        raise AssertionError("this method encodes no text")

    encode = encode_texts = tokenize = embed_tokens = encode_tokens = encode_continuations = _refuse


class TextVectors(NoEncoder):
    """Embeds texts as given, each in a direction of its own."""

    def encode_texts(self, texts):
        return torch.cat([unit(1, seed=sum(map(ord, text))) for text in texts])


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def stored(store):
    """What a store holds: the bytes of entries, and rows of texts by their digests, in however many files they lie."""
    found = {}
    for path in sorted(store.rglob("*.safetensors")):
        if path.parent.name == "parts":
            part = load_file(path)
            rows = dict(zip(map(tuple, part["digests"].T.tolist()), part["embeddings"].tolist(), strict=True))
            found.setdefault(path.parent.relative_to(store), {}).update(rows)
        else:
            found[path.relative_to(store)] = path.read_bytes()
    return found
