import math

import fakes
import pytest
import torch

from neglab.metrics.negation import _two_wrong_classes, negation

AXES = torch.eye(4, 8)
IMAGES, LABELS = AXES, torch.arange(4)


def test_a_model_that_reads_not_answers_right():
    """ "Not c" is everything but c."""
    negated = torch.nn.functional.normalize(1 - torch.eye(4, 8), dim=1)
    found = negation(IMAGES, LABELS, AXES, negated, 0)
    assert (found.own, found.others, found.own_over_other, found.turned) == (0, 1, 0, 1)
    assert found.counts.tolist() == [3, 3, 3, 3]


def test_a_model_that_overlooks_not_does_not():
    """ "Not c" is c with a word more."""
    negated = torch.nn.functional.normalize(AXES + 0.1, dim=1)
    found = negation(IMAGES, LABELS, AXES, negated, 0)
    assert found.own == 0
    assert found.own_over_other == 1  # Figure 3: "not an elephant" over "not a dog" for an elephant
    assert found.others == found.turned == 1  # Figure 4: the word "not" alone wins where no name is right


def test_it_equals_a_slow_count():
    images, labels = fakes.unit(30, seed=1), torch.tensor([-1, 0, 1, 2, 3] * 6)
    plain, negated = fakes.unit(4, seed=2), fakes.unit(4, seed=3)
    found = negation(images, labels, plain, negated, 5)
    first, second = _two_wrong_classes(labels, 4, 5)
    own, others, mixed, turned, counts = [], [], [], [], [0] * 4
    for i, label in enumerate(labels.tolist()):
        on_plain = [float(images[i] @ text) for text in plain]
        on_negated = [float(images[i] @ text) for text in negated]
        for c in range(4):
            counts[c] += on_negated[c] > on_plain[c]
            (own if c == label else others).append(on_negated[c] > on_plain[c])
            if label >= 0 and c != label:
                mixed.append(on_negated[label] > on_negated[c])
        better, worse = sorted((int(first[i]), int(second[i])), key=lambda c: -on_plain[c])
        turned.append(on_negated[worse] > on_plain[better])
    for share, expected in (
        (found.own, own),
        (found.others, others),
        (found.own_over_other, mixed),
        (found.turned, turned),
    ):
        assert share == pytest.approx(sum(expected) / len(expected))
    assert found.counts.tolist() == counts


def test_images_of_no_class_have_no_own():
    found = negation(IMAGES, torch.full((4,), -1), AXES, fakes.unit(4, 8), 0)
    assert math.isnan(found.own) and math.isnan(found.own_over_other)
    assert 0 <= found.others <= 1


def test_the_wrong_classes_are_two_and_not_the_own():
    labels = torch.tensor([-1, 0, 1, 2] * 50)
    first, second = _two_wrong_classes(labels, 3, 0)
    assert not ((first == labels) | (second == labels) | (first == second)).any()
    assert torch.equal(_two_wrong_classes(labels, 3, 0)[0], first)
    assert set(first[labels == -1].tolist()) == {0, 1, 2}
