"""InterNeg's inversion: prompts cut at their end token against prompts of full length, through the same text tower."""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra.utils import instantiate
from torch.nn.functional import normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.inversion import Descent, invert, placeholder_prompts

BACKBONE = ("backbone=open_clip", "backbone.model=ViT-B-16-quickgelu", "backbone.pretrained=null")  # random weights
STEPS, LEARNING_RATE, WEIGHT_DECAY = 10, 0.02, 0.01


def invert_whole_prompts(
    backbone: OpenCLIPBackbone, texts: Sequence[Sequence[str]], start: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    """The plain way: each step tokenizes its templates anew, to full length; `texts` by step and image."""
    (alone, alone_end), length = backbone.tokenize(["$"]), backbone.context_length
    mark = alone[0, alone_end[0] - 1]

    def encode(step: Sequence[str]) -> torch.Tensor:
        ids = backbone.tokenizer(list(step), context_length=length)
        tokens = torch.where((ids == mark)[:, :, None], vectors, backbone.embed_tokens(ids))
        return normalize(backbone.encode_tokens(tokens, ids.argmax(dim=1)), dim=1)

    vectors = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([vectors], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for step in texts:
        optimizer.zero_grad()
        (1 - (encode(step) * images).sum(dim=1)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return encode(texts[-1])


def measure(num_images: int = 256, num_plain: int = 8, backbone: Sequence[str] = BACKBONE) -> Figure:
    """The plain way's time grows with the number of images, so it inverts a few of them."""
    config = compose([*backbone, "method=interneg"])
    tower, prompts = instantiate(config.backbone), instantiate(config.prompt)
    templates = list(config.score.templates)
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(num_images, tower.embedding_dim, generator=generator), dim=1)
    choices = [random.Random(step).choices(range(len(templates)), k=num_images) for step in range(STEPS)]
    texts = [[templates[choice].replace("{}", " $ ") for choice in step[:num_plain]] for step in choices]
    descent = Descent(STEPS, LEARNING_RATE, WEIGHT_DECAY)
    with TemporaryDirectory() as folder:
        encoder = DirectTextEncoder(tower, prompts, Path(folder), 256)
        slotted = placeholder_prompts(encoder, templates, 1, images.device)
        start = torch.randn(num_images, 1, slotted.tokens.shape[2], generator=generator) * 0.02

        def ours(count: int) -> torch.Tensor:
            return invert(
                encoder, slotted, torch.tensor(choices)[:, :count], start[:count], images[:count], descent, None
            )

        plain: list[torch.Tensor] = []
        times = seconds(
            {
                "ours": lambda: ours(num_images),
                "plain": lambda: plain.append(
                    invert_whole_prompts(tower, texts, start[:num_plain], images[:num_plain])
                ),
            },
            repeats=1,
        )
        # Alone, since the mean over a batch scales the gradient, which AdamW's epsilon sees.
        difference = float((ours(num_plain) - plain[0]).abs().max())
    return Figure(
        what=f"InterNeg inversion of {num_images} images, {STEPS} steps, tower {slotted.tokens.shape[2]} wide",
        plain=f"full-length prompts, {num_plain} images at once, counted per image",
        ratios=(Ratio("plain way / ours, per image", times["plain"] / num_plain / (times["ours"] / num_images), 4),),
        difference=difference,
        tolerance=1e-4,
        details={"seconds": times, "tokens": [slotted.tokens.shape[1], tower.context_length]},
    )


if __name__ == "__main__":
    report("inversion", measure)
