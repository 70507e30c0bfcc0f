"""Train the last blocks of the classifier and one prototype per drawn thing, beside its own 1,000 classes.

Two losses of drawings, some of them mixed: of the classes, and of the embedding against the names of things and words
of WordNet at CLIP's scale, so that the constants that methods publish make sense. A third loss holds photographs to
what the classifier says of them at its own size, and a pull holds the blocks near their ImageNet weights. The
prototypes begin as a discriminant analysis of the frozen features; part of them is shared through the names' targets,
so that like things learn together. What is kept is a running mean of the weights. The accuracy on drawings that were
kept back is what decisions are taken by.
"""

from pathlib import Path

import numpy as np
import torch
from drawings import Drawings
from tail import Tail
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, linear, normalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training import Schedule, train
from views import FROZEN_BLOCKS, classifier

SIDE = 8  # of the maps before the first block that trains
SCALE = 100.0
SMOOTHING, NAMES_WEIGHT, PHOTOGRAPHS_WEIGHT, PULL = 0.05, 0.1, 1.5, 2e-3
DROPPED, MIXED, LEAST_SHARE = 0.25, 0.5, 0.55  # of features; of drawings that are mixed; of the first of two
PHOTOGRAPHS = 64  # per step
AVERAGED = 0.996  # how much of the running mean stays at each step
WORDS, TWINS = 2048, 0.8  # words of WordNet per step; names nearer than this are no negatives
SHRINKAGE, PRIOR = 0.2, 2  # of the discriminant analysis: towards a sphere, and of means of few drawings
TAIL_RATE, HEAD_RATE, SHARED_RATE, WARM_UP = 2e-4, 3e-4, 6e-4, 60
FLIPPED, MOVED = 0.3, 0.2  # shares of the maps that are mirrored or moved by one place


class Tower(nn.Module):
    """Features, the classes' logits and the embedding.

    Args:
        tail: the blocks that train.
        key: weights and biases of ImageNet's classes.
        anchors: [1000, D] of ImageNet's classes.
        names: [K, D] of the drawn things.
    """

    def __init__(self, tail: Tail, key: nn.Linear, anchors: Tensor, names: Tensor) -> None:
        super().__init__()
        self.tail, self.key = tail, nn.Linear(key.in_features, key.out_features + len(names))
        self.shared = nn.Parameter(torch.zeros(names.shape[1], key.in_features))
        self.value = nn.Parameter(torch.cat([anchors, names]))
        self.register_buffer("names", names)
        self.own = key.out_features
        with torch.no_grad():
            self.key.weight[: key.out_features] = key.weight
            self.key.bias[: key.out_features] = key.bias

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 1000 + K], embedding [B, D] at unit length."""
        features = dropout(self.tail(maps), DROPPED, self.training)
        logits = linear(features, self.whole_key(), self.key.bias)
        return logits, normalize(logits.softmax(dim=1) @ self.value, dim=1)

    def whole_key(self) -> Tensor:
        """Of each class: what it shares through its name, and what is its own."""
        drawn = self.key.weight[self.own :] + self.names @ self.shared
        return torch.cat([self.key.weight[: self.own], drawn])

    @torch.no_grad()
    def begin(self, weight: Tensor, bias: Tensor) -> None:
        """The drawn things' keys from a first solution; what their names explain of it becomes the shared part."""
        self.shared.copy_(torch.linalg.lstsq(self.names.double(), weight.double()).solution.float())
        self.key.weight[self.own :] = weight - self.names @ self.shared
        self.key.bias[self.own :] = bias


def discriminants(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Linear discriminant analysis: weight [K, F] and bias [K]; classes without a drawing get no say."""
    count = torch.bincount(labels, minlength=num_classes).float()
    mean = features.mean(dim=0)
    means = torch.zeros(num_classes, features.shape[1]).index_add_(0, labels, features) / count.clamp(min=1)[:, None]
    within = features - means[labels]
    covariance = within.T @ within / len(within)
    sphere = covariance.diagonal().mean() * torch.eye(len(covariance))
    precision = torch.linalg.inv(((1 - SHRINKAGE) * covariance + SHRINKAGE * sphere).double()).float()
    shifts = (means - mean) * (count / (count + PRIOR))[:, None]
    weight = shifts @ precision
    return weight, (-0.5 * (weight * shifts).sum(dim=1) - weight @ mean).masked_fill(count == 0, -1e4)


def first_keys(tower: Tower, drawings: Drawings, pooled: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Scaled so that they are as sure of kept-back drawings as they should be, and as loud as ImageNet's classes."""
    trains, labels = ~drawings.kept_back, drawings.labels
    features = torch.cat([view[trains] for view in pooled])
    weight, bias = discriminants(features, labels[trains].repeat(len(pooled)), len(drawings.concepts))
    known = ~trains & (bias > -1e4)[labels]
    seen, wanted = torch.cat([view[known] for view in pooled[:2]]), labels[known].repeat(2)
    logits = seen @ weight.T + bias
    scale = min((0.02, 0.05, 0.1, 0.2, 0.4), key=lambda scale: cross_entropy(scale * logits, wanted).item())
    own = slice(tower.own)
    theirs = linear(pooled[0][known], tower.key.weight[own], tower.key.bias[own]).logsumexp(dim=1).mean()
    louder = 1 + theirs - (scale * (pooled[0][known] @ weight.T + bias)).logsumexp(dim=1).mean()
    return scale * weight, scale * bias + louder.detach()


def drawings_loss(tower: Tower, maps: Tensor, labels: Tensor, words: Tensor, generator: torch.Generator) -> Tensor:
    """Of drawings, half of them mixed with another one, which counts as much as there is of it."""
    share = 1 - (1 - LEAST_SHARE) * torch.rand(len(maps), generator=generator)
    share = torch.where(torch.rand(len(maps), generator=generator) < MIXED, share, 1.0)
    other = torch.randperm(len(maps), generator=generator)
    logits, embedded = tower(share.view(-1, 1, 1, 1) * maps + (1 - share).view(-1, 1, 1, 1) * maps[other])
    texts, own = torch.cat([tower.names, words]), tower.own
    twins = tower.names[labels] @ texts.T > TWINS
    twins.scatter_(1, torch.stack([labels, labels[other]], 1), False)
    of_names = (SCALE * embedded @ texts.T).masked_fill(twins, -1e4)
    total = torch.zeros(())
    for weight, wanted in ((share, labels), (1 - share, labels[other])):
        of_class = cross_entropy(logits, wanted + own, label_smoothing=SMOOTHING, reduction="none")
        total = total + (weight * (of_class + NAMES_WEIGHT * cross_entropy(of_names, wanted, reduction="none"))).mean()
    return total


def photographs_loss(tower: Tower, maps: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy to the classifier's own shares [B, 1000]; drawn things have none."""
    logits, _ = tower(maps)
    return -(teacher * logits.log_softmax(dim=1)[:, : tower.own]).sum(dim=1).mean()


def distance(tower: Tower, start: list[Tensor]) -> Tensor:
    """Squared, of the blocks from their ImageNet weights."""
    return torch.stack([(p - q).pow(2).sum() for p, q in zip(tower.tail.parameters(), start, strict=True)]).sum()


def augmented(maps: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(maps), generator=generator) < FLIPPED
    maps[flipped] = maps[flipped].flip(3)
    for axis in (2, 3):
        moved = torch.rand(len(maps), generator=generator) < MOVED
        step = 1 if torch.rand((), generator=generator) < 0.5 else -1
        maps[moved] = maps[moved].roll(step, axis)
    return maps


def targets_of(work: Path, drawings: Drawings) -> tuple[Tensor, Tensor, Tensor]:
    """Targets [K, D] of the drawn things, [1000, D] of ImageNet's classes, [N, D] of WordNet's words."""
    targets = torch.load(work / "targets.pt")
    number_of = {name: i for i, name in enumerate(targets["names"])}
    names = targets["name_targets"][[number_of[concept] for concept in drawings.concepts]]
    return names, targets["imagenet_targets"], targets["word_targets"].float()


def new_tower(packages: Path, work: Path, drawings: Drawings) -> tuple[Tower, Tensor]:
    """The tower before it trains, and WordNet's words."""
    names, anchors, words = targets_of(work, drawings)
    network = classifier(packages)
    return Tower(Tail(network, FROZEN_BLOCKS, SIDE), network.classifier, anchors, names), words


@torch.inference_mode()
def kept_back_accuracy(tower: Tower, drawings: Drawings, view: np.ndarray) -> float:
    """Share of kept-back drawings whose own name, of all drawn things' names, is the nearest."""
    tower.eval()
    numbers = drawings.kept_back.nonzero().flatten()
    embedded = torch.cat([tower(torch.from_numpy(view[part.numpy()]).float())[1] for part in numbers.split(128)])
    tower.train()
    return ((embedded @ tower.names.T).argmax(dim=1) == drawings.labels[numbers]).float().mean().item()


def build(packages: Path, work: Path, num_views: int, steps: int, batch: int, seed: int) -> None:
    """Writes WORK/image<seed>.pt, the tower's averaged weights; a stopped run goes on from its last checkpoint."""
    torch.manual_seed(seed)
    drawings, photographs = Drawings(work), torch.load(work / "photographs.pt")
    teacher = photographs["logits"].float().softmax(dim=1)
    tower, words = new_tower(packages, work, drawings)
    views = [np.load(work / f"view{k}.npy", mmap_mode="r") for k in range(num_views)]
    pooled = [torch.from_numpy(np.load(work / f"pooled{k}.npy")).float() for k in range(num_views)]
    tower.begin(*first_keys(tower, drawings, pooled))
    start = [p.detach().clone() for p in tower.tail.parameters()]
    groups = [
        {"params": list(tower.tail.parameters()), "lr": TAIL_RATE},
        {"params": [*tower.key.parameters(), tower.value], "lr": HEAD_RATE},
        {"params": [tower.shared], "lr": SHARED_RATE},
    ]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    mean = AveragedModel(tower, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))
    weights = drawings.weights()

    def loss_of(step: int) -> Tensor:
        torch.manual_seed(1_000_003 * seed + step)  # of the dropout, too, when the run goes on
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        numbers = torch.multinomial(weights, batch, replacement=True, generator=generator)
        chosen = torch.randint(num_views, (batch,), generator=generator).tolist()
        maps = np.stack([views[k][i] for i, k in zip(numbers.tolist(), chosen, strict=True)])
        maps = augmented(torch.from_numpy(maps).float(), generator)
        others = words[torch.randint(len(words), (WORDS,), generator=generator)]
        shown = torch.randint(len(teacher), (PHOTOGRAPHS,), generator=generator)
        loss = drawings_loss(tower, maps, drawings.labels[numbers], others, generator)
        loss = loss + PHOTOGRAPHS_WEIGHT * photographs_loss(tower, photographs["maps"][shown].float(), teacher[shown])
        return loss + PULL * distance(tower, start)

    def keep_imagenet() -> None:
        for parameter in (tower.key.weight, tower.key.bias, tower.value):
            parameter.grad[: tower.own] = 0

    train(
        nn.ModuleList([tower, mean]),
        optimiser,
        Schedule(steps, WARM_UP, clip=5.0),
        work / f"image{seed}_latest.pt",
        loss_of,
        before_step=keep_imagenet,
        after_step=lambda: mean.update_parameters(tower),
        report=lambda: f"kept back {kept_back_accuracy(mean.module, drawings, views[0]):.3f}",
    )
    torch.save(mean.module.state_dict(), work / f"image{seed}.pt")
