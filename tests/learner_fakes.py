"""Small prompt learners for tests, on three classes, and the finite differences of their losses."""

import copy

import torch

from neglab.context.prompts import TokenTower
from neglab.prompt_learner.base import Recipe, TrainedContext
from neglab.prompt_learner.cocoop import CoCoOpLearner
from neglab.prompt_learner.coop import CoOpLearner
from neglab.prompt_learner.lsn import LSNLearner
from neglab.types import generator

NAMES = ("cat", "tree frog", "dog")


def context(**knobs):
    plain = {"num_tokens": 4, "num_sets": 1, "class_specific": False, "class_name": True}
    return TrainedContext(**{**plain, "initial_words": None, "initial_std": 0.02, **knobs})


def recipe(**knobs):
    plain = {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0, "num_epochs": 3}
    return Recipe(**{**plain, "batch_size": 4, "warmup_epochs": 0, "warmup_learning_rate": 1e-5, **knobs})


def coop(temperature=0.5, double_softmax=False, recipe_knobs=None, **knobs):
    return CoOpLearner(context(**knobs), recipe(**recipe_knobs or {}), temperature, double_softmax)


def cocoop(temperature=0.5, double_softmax=False, recipe_knobs=None, **knobs):
    return CoCoOpLearner(context(**knobs), recipe(**recipe_knobs or {}), temperature, double_softmax)


def lsn(
    positive=None,
    temperature=0.5,
    double_softmax=False,
    orthogonality="absolute_sum",
    orthogonality_weight=0.1,
    recipe_knobs=None,
    **knobs,
):
    own = context(**{"num_sets": 3, "class_specific": True, **knobs})
    trained = recipe(**{"optimiser": "adam", "momentum": 0.0, "learning_rate": 0.01, **(recipe_knobs or {})})
    first = coop() if positive is None else positive
    return LSNLearner(own, trained, temperature, double_softmax, first, orthogonality, orthogonality_weight)


def built(learner, backbone, seed=0):
    learner.build(backbone, NAMES, generator(seed))
    return learner


def in_float64(backbone):
    """A copy whose tower computes in float64; what it returns is rounded to float32."""
    exact = copy.deepcopy(backbone)
    exact.network.double()
    exact.dtype = torch.float64
    return exact


def total_loss(learner, backbone, images, labels):
    losses, penalty = learner.losses(TokenTower(backbone, 1000), images, labels)
    return losses.mean() + penalty


@torch.no_grad()
def loss_value(learner, backbone, images, labels):
    return float(total_loss(learner, backbone, images, labels))


def assert_gradient_is_finite_difference(learner, backbone, images, labels, step=2e-3, num_directions=3):
    """Along random directions in the space of the trained parameters; the tower in float64."""
    backbone = in_float64(backbone)
    parameters = learner.own_parameters()
    gradients = torch.autograd.grad(total_loss(learner, backbone, images, labels), parameters)
    draw = generator(7)
    for _ in range(num_directions):
        directions = [torch.randn(p.shape, generator=draw) for p in parameters]
        length = torch.stack([d.square().sum() for d in directions]).sum().sqrt()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction / length, alpha=sign * step)
                values.append(float(total_loss(learner, backbone, images, labels)))
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.sub_(direction / length, alpha=sign * step)
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True)) / float(length)
        assert abs((values[0] - values[1]) / (2 * step) - slope) < 1e-3 + 1e-3 * abs(slope)
