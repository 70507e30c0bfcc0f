# %% [markdown]
# # First steps in Python
#
# A detector of images that belong to none of ten classes; what is inside it; selectors and scores on embeddings of
# your own; a new score. Everything runs on the model and the drawings that ship with neglab, in seconds and offline.
# Run the cells one by one in an editor that knows `# %%`, or the whole file: `python examples/first_steps.py`.

# %%
import tempfile
from pathlib import Path

import torch
from torch.nn.functional import normalize

import neglab
from neglab.metrics import DetectionMetrics
from neglab.negative_selector.neglabel import NegLabelSelector
from neglab.score.base import BankScore
from neglab.score.neglabel import NegLabelScore
from neglab.types import LabelSet, TextBank

DRAWINGS = Path(neglab.__file__).parent / "assets" / "emoji"  # neglab's own; take your folders instead
VEHICLES = [
    "ambulance",
    "bicycle",
    "bus",
    "fire engine",
    "helicopter",
    "motorcycle",
    "rocket",
    "sailboat",
    "tractor",
    "tram",
]

# %% [markdown]
# ## A detector from class names
#
# It takes ten names and no image. The method is NegLabel: of a corpus, the words farthest from the ten classes become
# negative labels. Here the corpus is WordNet's nouns for places and parts of the body alone; without the override it is
# all of its 70,000 nouns and adjectives, which takes a minute the first time and a second from then on.

# %%
words = "corpus.lexnames=[noun.object,noun.body]"
detector = neglab.Detector.create(VEHICLES, backbone="mini", method="neglabel", overrides=[words])
negatives = detector.bank.negatives
print(f"{len(negatives)} negative labels, such as {', '.join(negatives.names[:5])}")

# %% [markdown]
# ## A threshold
#
# A higher score is more in-distribution (ID), always. Half of the drawings of vehicles set the threshold.

# %%
folders = [next((DRAWINGS / "id").glob(f"*_{name.replace(' ', '-')}")) for name in VEHICLES]
vehicles = [path for folder in folders for path in sorted(folder.iterdir())]
strangers = sorted((DRAWINGS / "objects").iterdir())[::4]
calibration = detector.calibrate(vehicles[::2], id_acceptance=0.9, margin=0.2)
print(calibration.describe())

# %% [markdown]
# ## Predictions, and the labels that decide
#
# Images may be paths, folders, PIL images, arrays or tensors.

# %%
for path in [vehicles[1], strangers[0], strangers[30]]:
    (found,) = detector.predict(path)
    verdict = "does not belong" if found.is_ood else f"belongs to {found.predicted_class}"
    print(f"{path.stem}: {verdict} (score {found.score:.3f}, nearest negative label: {found.negative_label})")

# %% [markdown]
# ## How good is it?
#
# Exact metrics, as fractions: AUROC, average precision, and FPR95 in both conventions (README, Conventions).

# %%
images = detector.embed([*vehicles[1::2], *strangers])  # unit norm, computed once for all that follows
is_id = torch.arange(len(images)) < len(vehicles[1::2])
for name, value in DetectionMetrics()(detector.score_embeddings(images), is_id).items():
    print(f"{name}: {value:.4f}")

# %% [markdown]
# ## Selectors and scores on embeddings of your own
#
# They are functions of unit-norm tensors and need no model. Here the embeddings are random, with three images near
# the first class and three near the last word.

# %%
random = torch.Generator().manual_seed(0)


def labels(kind: str, count: int) -> LabelSet:
    """Made-up labels. With a model of your own, give names and the embeddings of their prompts."""
    names = tuple(f"{kind} {i}" for i in range(count))
    return LabelSet(
        names, ("noun",) * count, normalize(torch.randn(count, 64, generator=random), dim=1), (None,) * count
    )


classes, corpus = labels("class", 5), labels("word", 200)
selector = NegLabelSelector(fraction=0.2, num_labels=None, quantile=0.95, remove_id_names=False, duplicate_guard=None)
bank = TextBank(classes, corpus.take(selector.select(corpus, classes)), logit_scale=100.0)
centres = torch.stack([classes.embeddings[0]] * 3 + [bank.negatives.embeddings[-1]] * 3)
own_images = normalize(centres + 0.02 * torch.randn(6, 64, generator=random), dim=1)
score = NegLabelScore(num_groups=4, temperature=0.01, group_seed=0)
print([f"{value:.3f}" for value in score(own_images, bank).tolist()])

# %% [markdown]
# ## A new score
#
# `prepare` once per bank, `score` per batch. With a YAML beside it, it is an option of the command line as well
# (README, "Your own method").


# %%
class GapScore(BankScore):
    """How much nearer the nearest class is than the nearest negative label."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def prepare(self, bank):
        return bank.id_labels.embeddings, bank.negatives.embeddings

    def score(self, images, prepared):
        classes, negatives = prepared
        return (images @ classes.T).amax(dim=1) - self.weight * (images @ negatives.T).amax(dim=1)


for weight in (0.0, 0.5, 1.0):
    values = DetectionMetrics()(GapScore(weight)(images, detector.bank), is_id)
    print(f"weight {weight}: AUROC {values['auroc']:.4f}")

# %% [markdown]
# ## Save it
#
# A saved detector needs neither corpus nor store; its scores are the same bit for bit.

# %%
with tempfile.TemporaryDirectory() as folder:
    detector.save(folder)
    again = neglab.Detector.load(folder)
print(f"threshold {again.threshold:.4f}, {again.threshold_origin}")
assert torch.equal(again.score_embeddings(images), detector.score_embeddings(images))
