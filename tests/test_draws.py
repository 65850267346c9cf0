"""Draws: a sample has every class in its share, whatever the order of the images."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from prune_core.attacks import sanity
from prune_core.data import datasets
from prune_core.data.splits import Split, drawn
from prune_core.pruning.ratios.climb import make_problem
from prune_core.pruning.scores import signals
from prune_core.pruning.scores.signals import Signals
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sanity, Sensitivity
from prune_core.training import watch

from conftest import THREAT, blank, dense_stage, pruned_stage, scores_stage

SORTED = torch.arange(30).repeat_interleave(20)


def by_class(split: Split) -> Split:
    """A split in the order of a folder of classes."""
    return split.take(split.labels.argsort(stable=True))


@pytest.fixture
def ordered(digits: datasets.Dataset) -> datasets.Dataset:
    splits = {name: by_class(getattr(digits, name)) for name in ("train", "validation", "test")}
    return dataclasses.replace(digits, **splits)


def counts(labels: Tensor, index: Tensor, classes: int) -> list[int]:
    return labels[index].bincount(minlength=classes).tolist()


@pytest.mark.parametrize("count", [30, 64, 150, 599])
def test_every_beginning_of_a_draw_has_every_class_in_its_share(count: int) -> None:
    index = drawn(SORTED, count, seed=1)
    assert len(index.unique()) == count
    for beginning in (30, count // 2, count):
        found = counts(SORTED, index[:beginning], 30)
        assert set(found) <= {beginning // 30, beginning // 30 + 1}


def test_shares_are_those_of_the_classes() -> None:
    labels = torch.tensor([0] * 600 + [1] * 300 + [3] * 95 + [4] * 5)
    assert counts(labels, drawn(labels, 100, 0), 5) == [60, 30, 0, 10, 0]
    assert counts(labels, drawn(labels, 200, 0), 5) == [120, 60, 0, 19, 1]


def test_a_draw_of_more_than_there_is_is_all() -> None:
    assert drawn(SORTED, 10_000, 0).sort().values.tolist() == list(range(600))


def test_seeds_draw_other_images_and_other_classes_where_not_all_fit() -> None:
    first, again, other = (drawn(SORTED, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert set(SORTED[first].tolist()) != set(SORTED[other].tolist())
    often = torch.stack([drawn(SORTED, 60, seed) for seed in range(300)]).flatten().bincount()
    assert often.min() > 8  # every image is drawn, 30 times on average
    assert often.max() < 60


def test_an_epoch_is_chosen_on_images_of_all_classes(
    ordered: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Split] = []
    monkeypatch.setattr(watch, "WATCHED", 20)
    monkeypatch.setattr(watch, "robust_accuracy", lambda _, split, *rest: seen.append(split) or 0.5)
    training = Training(objective="pgd", epochs=1, selection="validation").resolved()
    for seed in (1, 1, 2):
        watch.Watch(training, THREAT, seed).accuracies(blank(ordered), ordered.validation)
    assert [split.labels.bincount().tolist() for split in seen] == [[2] * 10] * 3
    assert torch.equal(seen[0].images, seen[1].images)
    assert not torch.equal(seen[0].images, seen[2].images)


def test_checks_look_at_images_of_all_classes(
    ordered: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[torch.Tensor] = []

    def large_eps(probe: sanity._Probe) -> sanity.Pair:
        looked.append(probe.labels)
        return sanity.large_eps(probe)

    monkeypatch.setattr(sanity, "CHECKS", {"large-eps": large_eps})
    stage = Sanity(network=pruned_stage(), threat=THREAT, images=60)
    [found] = sanity.check(blank(ordered), blank(ordered), ordered.test, stage)
    assert found.images == 60
    assert looked[0].bincount().tolist() == [6] * 10


def test_criteria_and_sensitivities_read_images_of_all_classes(
    ordered: datasets.Dataset, trained: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = scores_stage("taylor")
    batches = Signals(trained, ordered, [], stage).batches
    maps: list[int] = []
    monkeypatch.setattr(signals, "MAP_IMAGES", 20)
    looked = Signals(trained, ordered, [], stage)
    looked.watch({"network.conv": lambda images, _: maps.append(len(images))})
    assert sum(maps) == 20
    assert batches[0][1][:20].bincount().tolist() == [2] * 10
    for _, labels in batches[:-1]:
        assert labels.bincount(minlength=10).min() >= 4  # 64 images, by class
    estimation = Estimation(samples=200, attack_steps=1)
    measured = Sensitivity(
        network=dense_stage(), estimator="perturbation", estimation=estimation, threat=THREAT
    )
    problem = make_problem(trained, ordered, measured)
    labels = torch.cat([labels for _, labels in problem.clean])
    assert labels.bincount().min() >= 19
