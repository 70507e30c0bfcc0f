"""InterNeg's inversion: images side by side with prompts cut at their end token, against one image and 77 tokens.

Prints JSON; both in this one run on one thread, in CPU time, on the shipped backbone. By argument: images, and how many
of them the plain way inverts.
"""

import json
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra.utils import instantiate
from torch.nn.functional import normalize

from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.inversion import Descent, invert, placeholder_prompts
from neglab.text_encoder import DirectTextEncoder

STEPS, LEARNING_RATE, WEIGHT_DECAY = 10, 0.02, 0.01


def one_at_a_time(
    backbone: OpenCLIPBackbone, texts: list[list[str]], start: torch.Tensor, images: torch.Tensor
) -> torch.Tensor:
    """The plain way: each image's whole prompts through the library's tower; `texts` by step and image."""
    found, (alone, alone_end) = [], backbone.tokenize(["$"])
    mark = alone[0, alone_end[0] - 1]

    def encode(text: str, vector: torch.Tensor) -> torch.Tensor:
        ids, (_, end) = backbone.tokenizer([text]), backbone.tokenize([text])  # the tokenizer's own have full length
        tokens = torch.where((ids == mark)[:, :, None], vector, backbone.embed_tokens(ids))
        return normalize(backbone.encode_tokens(tokens, end), dim=1)[0]

    for i, image in enumerate(images):
        vector = start[i].clone().requires_grad_()
        optimizer = torch.optim.AdamW([vector], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        for step in texts:
            optimizer.zero_grad()
            (1 - encode(step[i], vector) @ image).backward()
            optimizer.step()
        found.append(encode(texts[-1][i], vector).detach())
    return torch.stack(found)


def main() -> None:
    count, slow_count = [int(text) for text in sys.argv[1:3]] or (256, 16)
    torch.set_num_threads(1)
    config = compose(["backbone=mini", "method=interneg"])
    backbone, prompts = instantiate(config.backbone), instantiate(config.prompt)
    templates = list(config.score.templates)
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(count, backbone.embedding_dim, generator=generator), dim=1)
    drawn = [random.Random(0).choices(range(len(templates)), k=count) for _ in range(STEPS)]
    with TemporaryDirectory() as folder:
        encoder = DirectTextEncoder(backbone, prompts, Path(folder), 256)
        slotted = placeholder_prompts(encoder, templates, 1, images.device)
        start = torch.randn(count, 1, slotted.tokens.shape[2], generator=generator) * 0.02
        descent = Descent(STEPS, LEARNING_RATE, WEIGHT_DECAY)
        invert(encoder, slotted, torch.tensor(drawn)[:, :2], start[:2], images[:2], descent, None)  # not counted
        begin = time.process_time()
        ours = invert(encoder, slotted, torch.tensor(drawn), start, images, descent, None)
        fast = time.process_time() - begin
    texts = [[templates[choice].replace("{}", " $ ") for choice in step[:slow_count]] for step in drawn]
    begin = time.process_time()
    plain = one_at_a_time(backbone, texts, start[:slow_count], images[:slow_count])
    slow = time.process_time() - begin
    result = {
        "benchmark": "inversion",
        "images": count,
        "steps": STEPS,
        "cpu_milliseconds_per_image": round(1000 * fast / count, 2),
        "cpu_milliseconds_per_image_plain": round(1000 * slow / slow_count, 2),
        "times_faster_per_image": round(slow / slow_count / (fast / count), 2),
        "largest_difference": float((ours[:slow_count] - plain).abs().max()),
        "tokens": [slotted.tokens.shape[1], backbone.context_length],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
