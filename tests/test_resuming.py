"""A training that is interrupted goes on from its checkpoint, to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import nn

from prune_core.data import datasets
from prune_core.pruning.prunable.masks import Held
from prune_core.training.history import Checkpoint
from prune_core.training.loop import fit

from conftest import THREAT, blank, keeping
from test_training import RECIPES, few, recipe, same


@pytest.mark.parametrize(("name", "stop_after"), [*((name, 1) for name in RECIPES), ("all", 2)])
def test_an_interrupted_training_ends_bit_for_bit_the_same(
    name: str, stop_after: int, digits: datasets.Dataset, trained: nn.Module
) -> None:
    training_recipe = recipe(**{"attack_steps": 2, **RECIPES[name]})
    data = few(digits, 256)
    threat = THREAT if training_recipe.adversarial else None
    how = {"teacher": trained if training_recipe.taught else None}
    whole = blank(digits)
    history = fit(whole, data, training_recipe, threat, "k", **how)

    class Killed(BaseException):
        pass

    kept: list[Checkpoint] = []

    def stop(_: object, copied: Callable[[], Checkpoint]) -> None:
        kept.append(copied())
        if len(kept) == stop_after:
            raise Killed

    with pytest.raises(Killed):
        fit(blank(digits), data, training_recipe, threat, "k", on_epoch=stop, **how)
    torch.manual_seed(12345)  # another process, with another global state
    stored = Checkpoint.of(kept[-1].tensors, kept[-1].facts())
    resumed = blank(digits, seed=7)  # its own weights are overwritten
    later = fit(resumed, data, training_recipe, threat, "k", stored, **how)
    assert same(whole, resumed)
    assert [e.loss for e in later] == [e.loss for e in history]
    assert [e.reported for e in later] == [e.reported for e in history]
    assert sum(e.reported for e in later) == 1
    unmarked = [dataclasses.replace(e, reported=None, collapsed=False) for e in later[:stop_after]]
    assert unmarked == kept[-1].history


def test_a_training_killed_within_an_epoch_goes_on_from_the_last_whole_one(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, data = recipe(**RECIPES["all"] | {"objective": "awp:fgsm"}), few(digits)
    whole = blank(digits)
    fit(whole, data, settings, THREAT, "k")
    kept: list[Checkpoint] = []
    steps = 0

    def die(_: object) -> None:  # called after each of an epoch's three steps
        nonlocal steps
        steps += 1
        if steps == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Held, "hold", die)
        with pytest.raises(KeyboardInterrupt):
            fit(blank(digits), data, settings, THREAT, "k", on_epoch=keeping(kept))
    assert [len(checkpoint.history) for checkpoint in kept] == [1]
    resumed = blank(digits, seed=7)
    fit(resumed, data, settings, THREAT, "k", Checkpoint.of(kept[0].tensors, kept[0].facts()))
    assert same(whole, resumed)


def test_a_training_stopped_early_is_the_first_part_of_the_whole(digits: datasets.Dataset) -> None:
    kept: list[Checkpoint] = []
    fit(blank(digits), few(digits), recipe(3), None, "k", on_epoch=keeping(kept))
    short = blank(digits)
    fit(short, few(digits), recipe(3), None, "k", until=2)
    after = kept[1].tensors
    assert all(torch.equal(after[f"network.{n}"], t) for n, t in short.state_dict().items())


def test_checkpoints_do_not_grow_with_the_epochs(digits: datasets.Dataset) -> None:
    sizes: list[int] = []
    settings = recipe(4, **RECIPES["all"] | {"objective": "awp:fgsm"})
    fit(
        blank(digits), few(digits, 128), settings, THREAT, "k",
        on_epoch=lambda _, copied: sizes.append(sum(t.numel() for t in copied().tensors.values())),
    )  # fmt: skip
    assert len(set(sizes)) == 1
