"""NegRefine's score: each distinct pair encoded once, in batches cut at the end token, against 200 texts per image.

On the shipped benchmark's images and words and the shipped backbone, since how often pairs repeat is a matter of data.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import build, compose
from neglab.embedding.embedder import Embedder
from neglab.embedding.text_encoder import DirectTextEncoder
from neglab.pipeline import Parts
from neglab.prompt.templates import PromptTemplates
from neglab.score.negrefine import NegRefineScore
from neglab.types import TextBank, Words

BATCH, NUM_GROUPS, TEMPERATURE, PAIR_WEIGHT, NEAREST = 256, 100, 0.01, 2.0, 5
SETS = ("id", "plants", "animals", "places", "objects", "activities", "flags")


def image_by_image(
    images: torch.Tensor, bank: TextBank, negatives: torch.Tensor, backbone: OpenCLIPBackbone, prompts: PromptTemplates
) -> torch.Tensor:
    """The plain way: 25 pairs in 8 templates for each image, at full length; `negatives` as the groups take them."""
    scores = []
    for image in images:
        to_classes = bank.id_labels.embeddings @ image / TEMPERATURE
        to_negatives = bank.negatives.embeddings @ image / TEMPERATURE
        groups = (negatives @ image / TEMPERATURE).chunk(NUM_GROUPS)
        shares = [torch.cat([to_classes, group]).softmax(dim=0)[: len(to_classes)].sum() for group in groups]
        nearest, alone = to_classes.topk(NEAREST).indices.tolist(), to_negatives.topk(NEAREST)
        names = [
            f"{bank.id_labels.names[i]} and {bank.negatives.names[j]}" for i in nearest for j in alone.indices.tolist()
        ]
        texts, owner = prompts.expand(names, ("noun",) * len(names))
        ids = backbone.tokenizer(texts, context_length=backbone.context_length)
        encoded = backbone.encode_tokens(backbone.embed_tokens(ids), ids.argmax(dim=1))
        pairs = prompts.average(encoded, owner, len(names)) @ image / TEMPERATURE
        win = torch.sigmoid(pairs.double() - alone.values.repeat(NEAREST).double()).max()
        scores.append(torch.stack(shares).mean() + PAIR_WEIGHT * win)
    return torch.stack(scores)


def material(parts: Parts, num_negatives: int, sets: Sequence[str]) -> tuple[torch.Tensor, TextBank]:
    """The sets' images in random order, and a bank of random words of the corpus."""
    id_words = parts.id_dataset.class_names()
    words = parts.corpus.words(id_words.names)
    draw = random.Random(0)
    drawn = [(words.names[i], words.parts_of_speech[i]) for i in draw.sample(range(len(words)), num_negatives)]
    names, kinds = zip(*drawn, strict=True)
    encoder = Embedder(parts.backbone, parts.prompts, parts.store, parts.devices, parts.loading)
    chosen = {name: dataset for name, dataset in parts.benchmark.items() if name in sets}
    images, (id_labels, negatives) = encoder.embed(chosen, [id_words, Words(names, kinds, (None,) * num_negatives)])
    rows = torch.cat([one.embeddings for one in images.values()])
    return rows[draw.sample(range(len(rows)), len(rows))], TextBank(id_labels, negatives, 100.0)


@torch.inference_mode()
def measure(
    num_images: int = 2000, num_negatives: int = 1000, num_plain: int = 10, sets: Sequence[str] = SETS
) -> Figure:
    """The plain way takes as long for every image, so it scores a few; ours repeats more pairs the more it has seen."""
    score = NegRefineScore(NUM_GROUPS, TEMPERATURE, 0, PAIR_WEIGHT, NEAREST, NEAREST)
    with TemporaryDirectory() as folder:
        parts = build(compose(["backbone=mini", "method=negrefine", f"paths.store={folder}"]))
        backbone = parts.backbone
        assert isinstance(backbone, OpenCLIPBackbone)  # the plain way uses its tokenizer
        images, bank = material(parts, num_negatives, sets)
        images, found = images[:num_images], {}
        encoder = DirectTextEncoder(backbone, parts.prompts, Path(folder, "pairs"), BATCH)

        def ours() -> None:
            state, scores = score.init(bank, encoder), []
            for batch in images.split(BATCH):
                (batch_scores, _), state = score.step(state, batch)
                scores.append(batch_scores)
            found["ours"] = torch.cat(scores)[:num_plain]

        def plain() -> None:
            negatives = score.neglabel.prepare(bank).negative_weights * TEMPERATURE
            found["plain"] = image_by_image(images[:num_plain], bank, negatives, backbone, parts.prompts)

        times = seconds({"ours": ours, "plain": plain}, repeats=1)
    asked = len(images) * NEAREST**2 * len(parts.prompts.templates["noun"])
    return Figure(
        what=f"NegRefine score, {len(images):,} emoji images x ({len(bank.id_labels)} + {num_negatives:,}), mini model",
        plain=f"200 text encodings per image, batch 1, 77 tokens; {num_plain} images, counted per image",
        ratios=(
            Ratio("text encodings, plain way / ours", asked / encoder.num_encoded, 50),
            Ratio("plain way / ours, per image", times["plain"] / num_plain / (times["ours"] / len(images)), 30),
        ),
        difference=float((found["ours"] - found["plain"]).abs().max()),
        tolerance=1e-4,
        details={"seconds": times, "text encodings": encoder.num_encoded},
    )


if __name__ == "__main__":
    report("negrefine_score", measure)
