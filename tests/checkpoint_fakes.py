"""Prompt checkpoints on disk, as `neglab learn` leaves them, without training."""

import fakes
import learner_fakes

from neglab.context.checkpoint import PromptDescription, write_checkpoint
from neglab.context.prompts import TokenTower

IMAGES = fakes.unit(5, seed=5)


def write(folder, learner, backbone, seed=0, **changes):
    """Write the first values of a learner's prompts for the three classes; returns the learner."""
    learner_fakes.built(learner, backbone, seed)
    fields = {
        "learner": learner.name,
        "class_names": learner_fakes.NAMES,
        "backbone": backbone.fingerprint,
        "seed": seed,
        "shots": 2,
        "knobs": {},
        "num_sets": learner.num_negative_sets,
        "class_name": True,
    }
    tensors = learner.results(TokenTower(backbone, 100), IMAGES)
    write_checkpoint(folder, PromptDescription(**{**fields, **changes}), tensors)
    return learner
