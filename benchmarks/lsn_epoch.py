"""An epoch of LSN's training: prompts cut at their end, all negative sets at once, against whole ones, set by set."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra.utils import instantiate
from torch.nn.functional import cross_entropy, normalize

from benchmarks.figure import Figure, Ratio, report, seconds
from neglab.backbone.open_clip import OpenCLIPBackbone
from neglab.compose import compose
from neglab.context.prompts import TokenTower
from neglab.modules.prompt_learning import EpochBatches, Training
from neglab.passes.prediction import Devices
from neglab.prompt_learner.base import PromptLearner
from neglab.prompt_learner.lsn import LSNLearner
from neglab.types import LabelledEmbeddings

BACKBONE = ("backbone=open_clip", "backbone.model=ViT-B-16-quickgelu", "backbone.pretrained=null")  # random weights
LEARNER = (
    "prompt_learner=lsn_official",
    "prompt_learner.recipe.num_epochs=1",
    "prompt_learner.positive.recipe.num_epochs=1",
)
BATCH_SIZE = 8


class WholePrompts:
    """The plain way's: "X ... X name." of full length, with a context in the place of the X."""

    def __init__(self, backbone: OpenCLIPBackbone, names: Sequence[str], num_tokens: int) -> None:
        texts = [" ".join(["X"] * num_tokens + [f"{name}."]) for name in names]
        ids = backbone.tokenizer(texts, context_length=backbone.context_length)
        self.backbone, self.end = backbone, ids.argmax(dim=1)
        tokens = backbone.embed_tokens(ids)
        self.prefix, self.suffix = tokens[:, :1], tokens[:, 1 + num_tokens :]

    def encode(self, context: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat([self.prefix, context.expand(len(self.end), -1, -1), self.suffix], dim=1)
        return normalize(self.backbone.encode_tokens(tokens, self.end), dim=1)


def positive_epoch(prompts: WholePrompts, context: torch.Tensor, batches: Sequence[LabelledEmbeddings]) -> torch.Tensor:
    """The official pass over the positives: cross entropy over softmax shares, SGD."""
    context = context.clone().requires_grad_()
    optimiser = torch.optim.SGD([context], lr=0.001, momentum=0.9, weight_decay=0.0005)
    for batch in batches:
        shares = (batch.embeddings @ prompts.encode(context).T / 0.01).softmax(dim=1)
        optimiser.zero_grad()
        cross_entropy(shares, batch.labels).backward()
        optimiser.step()
    return context.detach()


def negative_epoch(
    prompts: WholePrompts, contexts: Sequence[torch.Tensor], batches: Sequence[LabelledEmbeddings]
) -> list[torch.Tensor]:
    """The official loss of each set, against the others held still; each by itself, with an optimiser of its own."""
    contexts = [context.clone().requires_grad_() for context in contexts]
    optimisers = [torch.optim.Adam([context], lr=0.002) for context in contexts]
    for batch in batches:
        texts = [prompts.encode(context) for context in contexts]
        for k, optimiser in enumerate(optimisers):
            shares = ((1 - batch.embeddings @ texts[k].T) / 0.05).softmax(dim=1)
            others = [other.detach() for other in texts if other is not texts[k]]
            cosines = [(texts[k] * other).sum(dim=1).mean() for other in others]
            optimiser.zero_grad()
            (cross_entropy(shares, batch.labels) + torch.stack(cosines).mean()).backward()
        for optimiser in optimisers:
            optimiser.step()
    return [context.detach() for context in contexts]


def build(overrides: Sequence[str], num_classes: int) -> tuple[OpenCLIPBackbone, LSNLearner, tuple[str, ...]]:
    config = compose([*overrides, *LEARNER], command="learn")
    backbone, learner = instantiate(config.backbone), instantiate(config.prompt_learner)
    names = instantiate(config.id_dataset).class_names().names[:num_classes]
    learner.build(backbone, names, torch.Generator().manual_seed(0))
    return backbone, learner, names


def measure(num_classes: int = 40, num_images: int = 16, backbone: Sequence[str] = BACKBONE) -> Figure:
    """Time grows with steps and classes, so few of them are enough."""
    tower, learner, names = build(backbone, num_classes)
    draw = torch.Generator().manual_seed(1)
    embeddings = normalize(torch.randn(num_images, tower.embedding_dim, generator=draw), dim=1)
    images = LabelledEmbeddings(embeddings, torch.arange(num_images) % num_classes)
    batches = [
        LabelledEmbeddings(embeddings[positions], images.labels[positions])
        for positions, _ in EpochBatches(num_images, BATCH_SIZE, 0, 0)
    ]
    prompts = WholePrompts(tower, names, learner.context.num_tokens)
    starts = [stage.context.vectors.detach().clone() for stage in learner.stages()]
    plain: dict[str, list[torch.Tensor]] = {}

    def ours(stage: PromptLearner, images: LabelledEmbeddings) -> None:
        with TemporaryDirectory() as folder:
            devices = Devices("cpu", 1, "auto", progress_bar=False)
            training = Training(devices, "32-true", 0, Path(folder), Path(folder) / "curves.csv")
            training.train(TokenTower(tower, 4096), stage, images, [], lambda row: None)

    def plain_positives() -> None:
        plain["coop"] = [positive_epoch(prompts, starts[0][0], batches)]

    def plain_negatives() -> None:
        plain["lsn"] = negative_epoch(prompts, list(starts[1]), batches)

    positive, negative = learner.stages()
    ours(
        positive, LabelledEmbeddings(embeddings[:1], images.labels[:1])
    )  # the trainer's first start is no epoch's time
    with torch.no_grad():
        positive.context.vectors.copy_(starts[0])
    times = seconds(
        {
            "ours, positives": partial(ours, positive, images),
            "plain, positives": plain_positives,
            "ours, negatives": partial(ours, negative, images),
            "plain, negatives": plain_negatives,
        },
        repeats=1,
    )
    positives, negatives = (times[f"plain, {which}"] / times[f"ours, {which}"] for which in ("positives", "negatives"))
    with torch.no_grad():  # of the texts: Adam's first steps are as large where the gradient is nothing but rounding
        difference = max(
            float((stage.context(TokenTower(tower, 4096))[k] - prompts.encode(context)).abs().max())
            for stage in learner.stages()
            for k, context in enumerate(plain[stage.name])
        )
    whole = times["plain, positives"] + times["plain, negatives"]
    return Figure(
        what=f"LSN training epoch, {num_classes} classes, {num_images} images, {len(starts[1])} negative sets",
        plain="positives and each negative set apart, full-length prompts",
        ratios=(
            Ratio("plain way / ours", whole / (times["ours, positives"] + times["ours, negatives"]), 5),
            Ratio("plain way / ours, positives (CoOp)", positives),
            Ratio("plain way / ours, negatives", negatives),
        ),
        difference=difference,
        tolerance=1e-4,
        details={"seconds": times, "tokens": [int(learner.context.built.end.max()) + 1, tower.context_length]},
    )


if __name__ == "__main__":
    report("lsn_epoch", measure)
