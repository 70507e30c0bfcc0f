"""All drawings that may train, with their names; and which of them are kept back, to take decisions by."""

import json
import sys
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "build_emoji"))
from families import FAMILIES

KEPT_BACK = 12  # of 1 emoji in so many one family's drawings, of clip art 1 drawing in so many
# How often a group is drawn in training: the groups of things more than people, signs and one-colour icons.
GROUP_WEIGHTS = {
    "animals-nature": 3.0, "food-drink": 4.0, "objects": 3.0, "travel-places": 4.0, "activities": 2.0, "icons": 0.7,
    "clip art": 2.5, "flags": 0.7,
}  # fmt: skip


class Drawing(NamedTuple):
    """What is known of a drawing; `concept` is the class that it trains, in lower case."""

    name: str
    concept: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    kept_back: bool


class Drawings:
    """Emoji in the families that are not held out, icons and clip art, in this order."""

    def __init__(self, work: Path) -> None:
        arrays = np.load(work / "drawings.npz")
        emoji = json.loads((work / "emoji.json").read_text())
        icons, clip_art = (json.loads((work / name).read_text()) for name in ("icons.json", "clipart.json"))
        self.rows: list[Drawing] = []
        small: list[np.ndarray] = []
        families: list[list[str]] = [[] for _ in emoji]
        shown = []  # emoji and family of each drawing
        for family, styles in FAMILIES.items():
            for style in styles:
                pixels = arrays[style]  # unpacked anew each time it is asked for
                for i, row in enumerate(emoji):
                    if family != row["held_out"] and pixels[i, ..., 3].any():
                        families[i] += [family] * (family not in families[i])
                        shown.append((i, family))
                        small.append(pixels[i])
        for i, family in shown:
            row, number = emoji[i], zlib.crc32(emoji[i]["hexcode"].encode())
            chosen = families[i][number // KEPT_BACK % len(families[i])]
            kept = number % KEPT_BACK == 0 and len(families[i]) > 1 and family == chosen
            tags = tuple(row["tags"])
            self.rows.append(
                Drawing(row["name"], row["concept"].lower(), tags, row["group"], row.get("subgroup", ""), kept)
            )
        self.rows += [Drawing(icon["name"], icon["name"].lower(), (), "icons", "", False) for icon in icons]
        for row in clip_art:
            kept = zlib.crc32(row["file"].encode()) % KEPT_BACK == 0
            self.rows.append(Drawing(row["name"], row["name"].lower(), tuple(row["tags"]), "clip art", "", kept))
        self.small = torch.from_numpy(np.concatenate([np.stack(small), arrays["icons"]])).permute(0, 3, 1, 2)
        self.large = torch.from_numpy(np.load(work / "clipart.npy")).permute(0, 3, 1, 2)
        self.concepts = sorted({row.concept for row in self.rows})
        number_of = {concept: i for i, concept in enumerate(self.concepts)}
        self.labels = torch.tensor([number_of[row.concept] for row in self.rows])
        self.kept_back = torch.tensor([row.kept_back for row in self.rows])

    def __len__(self) -> int:
        return len(self.rows)

    def names(self) -> list[str]:
        """All names, concepts and tags, in lower case."""
        return sorted({text.lower() for row in self.rows for text in (row.name, row.concept, *row.tags)})

    def pixels(self, numbers: Tensor, size: int) -> Tensor:
        """RGBA [B, 4, size, size], uint8."""
        pixels = torch.empty(len(numbers), 4, size, size, dtype=torch.uint8)
        is_small = numbers < len(self.small)
        for part, chosen in ((self.small, is_small), (self.large, ~is_small)):
            if chosen.any():
                offset = 0 if part is self.small else len(self.small)
                resized = interpolate(part[numbers[chosen] - offset].float(), size=(size, size), mode="bilinear")
                pixels[chosen] = resized.round().byte()
        return pixels

    def weights(self) -> Tensor:
        """How often each drawing that trains is drawn; 0 for those kept back. Rare concepts count more."""
        trains = ~self.kept_back
        count = torch.bincount(self.labels[trains], minlength=len(self.concepts)).clamp(min=1)
        group = torch.tensor([GROUP_WEIGHTS.get(row.group, 1.0) for row in self.rows])
        return group / count[self.labels].sqrt() * trains


def is_black(pixels: Tensor) -> Tensor:
    """Drawings in one dark ink alone, for which any colour does as well."""
    inked = pixels[:, :3] * (pixels[:, 3:] > 99)
    return inked.amax((1, 2, 3)) < 60
