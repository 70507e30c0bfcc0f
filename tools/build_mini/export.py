"""Put the towers into one folder of open_clip's format, in float16; the table of 49,408 tokens in eight bits.

Every run of `image` and of `sketch`, one a seed, takes part: the weights of the first are averaged (Wortsman et al.,
"Model soups", 2022), since all begin at the same point; the trunks of the second stand side by side, and their logits
are averaged. The trained blocks go only part of the way from their ImageNet weights (WiSE-FT, 2022). A gate, which
is a linear discriminant of drawings and photographs, is added to the keys of all drawn things, so that photographs
are left to ImageNet's classes. How far and how much was chosen on kept-back drawings and on photographs of tools,
household things and animals of Debian's gcompris-qt-data, which are no benchmark. The classes' embeddings become
those that the text tower gives their names.
"""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from drawings import Drawings
from image import SHRINKAGE, Tower, new_tower
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from sketch import Sketcher
from space import DIM, IMAGENET
from text import CONTEXT, MODEL, encode
from torch import Tensor
from torch.nn.functional import normalize, pad
from views import FROZEN_BLOCKS, classifier

from neglab.backbone.open_clip import WordIds
from neglab.weights import prototypes

IMAGE_SIZE = 144  # trained at 128: things look larger in views that are cut (Touvron et al., FixRes, 2019)
VISION = {
    "timm_model_name": prototypes.neglab_prototypes.__name__,
    "timm_model_pretrained": False,
    "timm_pool": "avg",
    "timm_proj": "",
    "image_size": IMAGE_SIZE,
}
TEMPLATES = ("{}", "the nice {}.", "a photo of a {}.", "the nice {}")
ICONS = 7  # of a thing that icons alone show: with fewer it is no prototype
WAY = 0.7  # from the ImageNet weights to the trained ones
TUNED, SKETCHED = 1.0, 11.0  # what the keys of the two trunks count in the logits of drawn things
GATE, OFFSET = 10.0, -12.0
GATE_DRAWINGS = 3000


@torch.no_grad()
def build(packages: Path, work: Path, output: Path) -> None:
    """Writes OUTPUT/open_clip_config.json and OUTPUT/open_clip_model.safetensors."""
    drawings = Drawings(work)
    tower, _ = new_tower(packages, work, drawings)
    start = [parameter.clone() for parameter in tower.tail.parameters()]
    runs = [torch.load(path) for path in runs_of(work, "image")]
    tower.load_state_dict({name: torch.stack([run[name] for run in runs]).mean(dim=0) for name in runs[0]})
    for parameter, first in zip(tower.tail.parameters(), start, strict=True):
        parameter.copy_(first.lerp(parameter, WAY))
    sketchers = []
    for path in runs_of(work, "sketch"):
        sketchers.append(Sketcher(tower.names))
        sketchers[-1].load_state_dict(torch.load(path))
    kept = prototypes_of(drawings)
    if (len(kept), len(sketchers)) != (prototypes.NUM_DRAWN, prototypes.NUM_SKETCHERS):
        raise SystemExit(
            f"Set NUM_DRAWN and NUM_SKETCHERS in {prototypes.__file__} to {len(kept)} and {len(sketchers)}, then run "
            "this again."
        )
    model = CustomTextCLIP(embed_dim=DIM + 1, vision_cfg=VISION, text_cfg=MODEL)
    text = torch.load(work / "text.pt")
    text["text_projection"] = pad(text["text_projection"], (0, 1))  # texts have nothing of the images' own coordinate
    model.text.load_state_dict(text)
    trunk = model.visual.trunk
    network = classifier(packages)
    tower.tail.write_into(network, FROZEN_BLOCKS)
    network.reset_classifier(0)
    trunk.photographs.load_state_dict(network.state_dict())
    for drawn, sketcher in zip(trunk.drawings, sketchers, strict=True):
        drawn.load_state_dict(sketcher.trunk.state_dict())
    key, bias = tower.whole_key(), tower.key.bias.clone()
    gate, threshold = gate_of(tower, drawings, work)
    key[tower.own :] = TUNED * key[tower.own :] + GATE * gate
    bias[tower.own :] = TUNED * bias[tower.own :] + GATE * threshold + OFFSET
    chosen = torch.cat([torch.arange(tower.own), tower.own + kept])
    trunk.key.weight.copy_(key[chosen])
    trunk.key.bias.copy_(bias[chosen])
    projection = torch.cat([sketcher.projection.weight for sketcher in sketchers], dim=1)
    trunk.drawn_key.weight.copy_(SKETCHED / len(sketchers) * tower.names[kept] @ projection)
    names = [*IMAGENET, *(drawings.concepts[i] for i in kept.tolist())]
    trunk.value.weight.copy_(named(model.text, names)[:, :DIM].T)
    model.logit_scale.fill_(math.log(100))
    write(model, output)


def runs_of(work: Path, stage: str) -> list[Path]:
    """What the stage's runs have left, by seed."""
    found = sorted(path for path in work.glob(f"{stage}*.pt") if path.stem.removeprefix(stage).isdecimal())
    if not found:
        raise SystemExit(f"{work} has no {stage}<seed>.pt: run the stage {stage} first.")
    return found


def prototypes_of(drawings: Drawings) -> Tensor:
    """Numbers of the concepts that emoji or clip art show, or enough icons."""
    shown = Counter(row.concept for row in drawings.rows if not row.kept_back)
    elsewhere = {row.concept for row in drawings.rows if row.group != "icons"}
    kept = [i for i, name in enumerate(drawings.concepts) if name in elsewhere or shown[name] >= ICONS]
    return torch.tensor(kept)


def gate_of(tower: Tower, drawings: Drawings, work: Path) -> tuple[Tensor, Tensor]:
    """Weight [F] and bias of a discriminant that is 1 at the mean drawing and -1 at the mean photograph."""
    tower.eval()
    trains = (~drawings.kept_back).nonzero().flatten()
    some = trains[torch.randperm(len(trains), generator=torch.Generator().manual_seed(0))[:GATE_DRAWINGS]].numpy()
    views = [np.load(work / f"view{k}.npy", mmap_mode="r")[some] for k in (0, 1)]
    photographs = torch.load(work / "photographs.pt")["maps"]
    sides = [
        torch.cat([tower.tail(part.float()) for part in maps.split(128)])
        for maps in (torch.from_numpy(np.concatenate(views)), photographs)
    ]
    drawn, photographed = (side.mean(dim=0) for side in sides)
    within = torch.cat([sides[0] - drawn, sides[1] - photographed])
    covariance = within.T @ within / len(within)
    sphere = covariance.diagonal().mean() * torch.eye(len(covariance))
    weight = torch.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * sphere, drawn - photographed)
    weight = weight * 2 / ((drawn - photographed) @ weight)
    return weight, -(drawn + photographed) / 2 @ weight


def named(tower: torch.nn.Module, names: list[str]) -> Tensor:
    """[N, D]: the mean over a few prompts."""
    ids = WordIds(SimpleTokenizer(context_length=CONTEXT))
    prompts = [[template.replace("{}", name) for name in names] for template in TEMPLATES]
    return normalize(sum(encode(tower, ids.padded(texts)) for texts in prompts), dim=1)


def write(model: CustomTextCLIP, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "shortest", "size": IMAGE_SIZE}
    settings = {"embed_dim": DIM + 1, "vision_cfg": VISION, "text_cfg": MODEL, "custom_text": True}
    config = json.dumps({"model_cfg": settings, "preprocess_cfg": preprocess}, indent=1)
    (output / "open_clip_config.json").write_text(config + "\n")
    weights = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    table = "text.token_embedding.weight"
    weights[table] = weights[table].to(torch.float8_e4m3fn)
    save_file(weights, output / "open_clip_model.safetensors")
