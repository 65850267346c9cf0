"""Every method on a device that is not the processor: none leaves anything behind on it.

What is computed is the same as on the processor, up to the order in which sums are made.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from pretended import ELSEWHERE, MixedError, pretended
from test_growth import OFTEN, rule
from test_masked_networks import random_masks
from test_sensitivities import stage as sensitivity_stage
from torch import nn

from orchestrator.driver.executors import opened, record_plan, run
from orchestrator.driver.launch import Launch
from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.attacks import nearest
from prune_core.attacks.evaluation import evaluate
from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.ratios.sensitivities import measure, measure_removal
from prune_core.pruning.scores import criteria, learning, signals
from prune_core.specs.settings import Calibration, Threat
from prune_core.specs.stages import Evaluation
from prune_core.training.loop import fit
from results.tables.load import load
from results.tables.storage import Storage

from conftest import THREAT, Silent, blank, dense_stage, scored, scores_stage, sweep_text
from rows import names
from test_criteria import BOTH
from test_training import RECIPES, few, recipe

LONG = {"square", "autoattack", "fab", "ho-fmn-2", "cw", "apgd-dlr"}
"""Attacks of many passes; what of them is ours is in others too."""
IMAGES = Calibration(samples=24, batch_size=12, attack_steps=2)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with pretended(monkeypatch) as device:
        yield device


def moved(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to(ELSEWHERE)


def there(data: Dataset) -> Dataset:
    train, validation, test = (
        split.to(ELSEWHERE) for split in (data.train, data.validation, data.test)
    )
    return replace(data, train=train, validation=validation, test=test)


def near(found: torch.Tensor, expected: torch.Tensor, within: float = 1e-3) -> None:
    assert found.device == ELSEWHERE
    torch.testing.assert_close(found.cpu(), expected, rtol=within, atol=within / 100)


def test_it_is_another_device(elsewhere: torch.device) -> None:
    here, far = torch.ones(3), torch.zeros(3, device=elsewhere)
    assert {far.device, (far + 1).device, far[torch.arange(2)].device} == {ELSEWHERE}
    assert (far.cpu() + here).tolist() == [1, 1, 1]
    assert far.add_(here.to(elsewhere)).tolist() == [1, 1, 1]
    positions = torch.tensor([0, 1], device=elsewhere)
    for mixing in (
        lambda: here + far, lambda: far.add_(here), lambda: here[positions],
        lambda: torch.stack([here, far]), lambda: torch.where(here > 0, far, far),
    ):  # fmt: skip
        with pytest.raises(MixedError):
            mixing()


@pytest.mark.parametrize(("name", "unit"), dict(reversed(BOTH)).items())
def test_criteria(
    name: str,
    unit: str,
    trained: nn.Module,
    digits: Dataset,
    elsewhere: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learning, "EPOCHS", 1)
    monkeypatch.setattr(criteria, "ROUNDS", 3)
    monkeypatch.setattr(signals, "PROBES", 2)
    stage, data = scores_stage(name, unit=unit), few(digits, 64)
    if stage.calibration is not None:
        stage = stage.model_copy(update={"calibration": IMAGES})
    found = scored(moved(trained), there(data), stage)
    for module, scores in scored(trained, data, stage).items():
        near(found[module], scores)


@pytest.mark.parametrize("name", names("sensitivities"))
def test_sensitivities(
    name: str, trained: nn.Module, digits: Dataset, elsewhere: torch.device
) -> None:
    del elsewhere
    stage, data = sensitivity_stage(name), few(digits, 32)
    values = []
    for network, images in ((trained, data), (moved(trained), there(data))):
        if name.startswith("perturbation"):
            found = measure(network, [*maskable(network)][:1], images, stage)
        else:
            view = prunable_view(network, digits.shape, "channel")
            scores = scored(network, images, scores_stage())
            found = measure_removal(network, view, scores, images, stage)
        values.append([each.value for each in found.values()])
    assert values[1] == pytest.approx(values[0], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in names("attacks") if name not in LONG])
def test_attacks(
    name: str,
    trained: nn.Module,
    digits: Dataset,
    elsewhere: torch.device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del elsewhere
    monkeypatch.setattr(nearest, "STEPS", 20)
    judged = Evaluation(network=dense_stage(), attack=name, threat=Threat(eps=0.1))
    some = torch.arange(8)
    here = evaluate(trained, digits.test.take(some), judged)
    found = evaluate(moved(trained), there(digits).test.take(some.to(ELSEWHERE)), judged)
    assert sum(a != b for a, b in zip(here.correct, found.correct, strict=True)) <= 1


@pytest.mark.parametrize("case", [*RECIPES, "rigl", "flying-bird"])
def test_trainings(case: str, digits: Dataset, elsewhere: torch.device) -> None:
    del elsewhere
    settings = RECIPES.get(case, {"objective": "standard"})
    training = recipe(**{"epochs": 2, "batch_size": 16, "attack_steps": 1, **settings})
    threat = THREAT if training.adversarial else None
    network, teacher, data = blank(digits), blank(digits, seed=1), few(digits, 32)
    random_masks(network, digits)
    sides = (network, data, teacher), (moved(network), there(data), moved(teacher))
    for trained, images, taught in sides:
        fit(
            trained, images, training, threat, "k",
            teacher=taught if training.taught else None,
            rule=rule(case, OFTEN) if case not in RECIPES else None,
        )  # fmt: skip
    states = (side[0].state_dict() for side in sides)
    for expected, found in zip(*map(dict.values, states), strict=True):
        near(found.float(), expected.float(), within=0.1)


def test_a_sweep(tmp_path: Path, elsewhere: torch.device) -> None:
    """All that jobs do: from images and files to the rows."""
    text = sweep_text(
        criteria="[adv-snip]",
        allocations="[mrs]",
        finetuning="{pgd: {objective: pgd, epochs: 1, attack_steps: 1}}",
        evaluation="{attacks: [pgd-5], sanity_images: 12}",
        pruning="{calibration: {samples: 24}}",
        seeds="1",
    )
    plan, rows = make_plan(parse_sweep(text)), list[pd.DataFrame]()
    for device in ("cpu", str(elsewhere)):
        storage = Storage(str(tmp_path / device))
        record_plan(plan, storage, text)
        with opened("inline", device, 1, None, None) as place:
            run(Launch(plan, storage, place.device, Silent()), place)
        trials = load(str(tmp_path / device), "tiny").trials
        rows.append(trials.sort_values("trial_id", ignore_index=True))
    here, far = rows
    assert set(far.status) == {"done"}, list(far.error)
    assert set(far.device) == {str(elsewhere)}
    for metric in ("finetuned_clean", "finetuned_pgd_5"):
        assert (here[metric] - far[metric]).abs().max() < 0.02
