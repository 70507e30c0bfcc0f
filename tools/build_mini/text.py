"""Distil the sentence encoder into the text tower: causal, CLIP's tokenizer, read at its end token.

Its token embeddings start as the targets of what the tokens spell, so that it knows every word from the first step on.
A prompt has the target of its name, whatever the sentence around it; "X and Y" lies between X and Y; "rocky landscape"
lies near both its words.
"""

import math
import random
from pathlib import Path

import torch
from open_clip.model import CLIPTextCfg, _build_text_tower
from open_clip.tokenizer import SimpleTokenizer
from space import DIM, IMAGENET
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from training import Schedule, train
from wordnet_dict import first_senses

from neglab.backbone.open_clip import WordIds

CONTEXT = 77
MODEL = {"context_length": CONTEXT, "vocab_size": 49408, "width": DIM, "heads": 4, "layers": 3}
TEMPLATES = (
    "{}.", "a photo of a {}.", "a photo of a {}", "the nice {}.", "the nice {}", "a {}.", "an image of a {}.",
    "This is a {} photo", "a drawing of a {}.", "a photo with a {}", "a good photo of the {}.", "a picture of the {}",
    "a cropped photo of the {}.", "a bright photo of a {}.", "itap of a {}.", "a photo of many {}.", "the {}",
)  # fmt: skip
PLACES = (
    "area", "creature", "environment", "item", "landscape", "object", "pattern", "place", "scene", "space", "structure",
    "thing", "view", "vista",
)  # fmt: skip
IN_A_PROMPT = 0.65
OF_DRAWINGS, OF_IMAGENET = 0.30, 0.08  # shares of the names; the rest are WordNet's
PAIRS, PHRASES = 0.16, 0.08  # shares of the texts
PLACE_WEIGHT = 0.5  # of the noun in "rocky landscape"
SCALE, TWINS = 40.0, 0.95  # of the logits; targets nearer than this are not told apart
RATE, WARM_UP, LAST_RATE = 1.5e-3, 200, 0.02


class Texts:
    """Draws texts with their targets."""

    def __init__(self, packages: Path, targets: dict) -> None:
        words, names = targets["words"], targets["names"]
        word_targets = targets["word_targets"].float()
        of_name = {name: i for i, name in enumerate(names)}
        number_of = {word.lower(): i for i, word in enumerate(words)}
        for word, i in number_of.items():
            if word in of_name:  # a name that drawings show has one target
                word_targets[i] = targets["name_targets"][of_name[word]]
        self.sources = (words, word_targets), (names, targets["name_targets"]), (IMAGENET, targets["imagenet_targets"])
        self.adjectives = [number_of[word] for word in first_senses(packages, "adj") if word in number_of]
        self.places = [number_of[place] for place in PLACES]

    def draw(self, rng: random.Random) -> tuple[str, Tensor]:
        kind = rng.random()
        if kind < PAIRS:
            (one, first), (other, second) = self.name(rng), self.name(rng)
            return fill(f"{one} and {other}", rng), normalize(first + second, dim=0)
        if kind < PAIRS + PHRASES:
            words, targets = self.sources[0]
            adjective, place = rng.choice(self.adjectives), rng.choice(self.places)
            target = normalize(targets[adjective] + PLACE_WEIGHT * targets[place], dim=0)
            return fill(f"{words[adjective]} {words[place]}", rng), target
        name, target = self.name(rng)
        return fill(name, rng), target

    def name(self, rng: random.Random) -> tuple[str, Tensor]:
        shares = (1 - OF_DRAWINGS - OF_IMAGENET, OF_DRAWINGS, OF_IMAGENET)
        names, targets = rng.choices(self.sources, shares)[0]
        i = rng.randrange(len(names))
        return names[i], targets[i]


def fill(text: str, rng: random.Random) -> str:
    return rng.choice(TEMPLATES).replace("{}", text) if rng.random() < IN_A_PROMPT else text


def new_tower(token_targets: Tensor) -> nn.Module:
    tower = _build_text_tower(DIM, CLIPTextCfg(**MODEL))
    with torch.no_grad():
        tower.token_embedding.weight.copy_(token_targets * 0.5)
    return tower


def encode(tower: nn.Module, ids: Tensor) -> Tensor:
    """Texts of like length together and cut at the longest."""
    end = ids.argmax(dim=1)
    order, parts = end.argsort(), []
    for part in order.chunk(4):
        length = int(end[part[-1]]) + 1
        hidden = tower.token_embedding(ids[part, :length]) + tower.positional_embedding[:length]
        hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
        hidden = tower.ln_final(hidden[torch.arange(len(part)), end[part]])
        parts.append(hidden @ tower.text_projection)
    return normalize(torch.cat(parts)[order.argsort()], dim=1)


def loss(embedded: Tensor, targets: Tensor) -> Tensor:
    """Nearness to the own target, and telling it from the others of the batch."""
    similarity = embedded @ targets.T
    twins = (targets @ targets.T > TWINS).fill_diagonal_(False)
    told = cross_entropy((SCALE * similarity).masked_fill(twins, -math.inf), torch.arange(len(similarity)))
    return 5 * (1 - similarity.diagonal().mean()) + 0.5 * told


def build(packages: Path, work: Path, steps: int, batch: int, seed: int) -> None:
    """Writes WORK/text.pt, the tower's weights; a stopped run goes on from its last checkpoint."""
    targets = torch.load(work / "targets.pt")
    torch.manual_seed(seed)
    texts, tower = Texts(packages, targets), new_tower(targets["token_targets"])
    ids = WordIds(SimpleTokenizer(context_length=CONTEXT))
    decayed = [p for name, p in tower.named_parameters() if p.ndim > 1 and "embedding" not in name]
    plain = [p for name, p in tower.named_parameters() if p.ndim <= 1 or "embedding" in name]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98))

    def loss_of(step: int) -> Tensor:
        rng = random.Random(f"{seed} {step}")
        drawn, wanted = zip(*(texts.draw(rng) for _ in range(batch)), strict=True)
        return loss(encode(tower, ids.padded(drawn)), torch.stack(wanted))

    train(tower, optimiser, Schedule(steps, WARM_UP, LAST_RATE, every=50), work / "text_latest.pt", loss_of)
    torch.save(tower.state_dict(), work / "text.pt")
