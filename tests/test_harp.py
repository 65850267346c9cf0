"""HARP: scores and shares that are trained together, with a penalty until the budget is met."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.data.datasets import Dataset
from prune_core.models.folding import Twin
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.prune import prune
from prune_core.specs.stages import Scores
from prune_core.training import loop as training
from prune_core.training.harp import RateLearner

from conftest import SHORT, pruned_stage, run_sweep, scores_stage, sweep_text
from test_launch import trials


def learner_of(network: nn.Module, data: Dataset, unit: str, sparsity: float) -> RateLearner:
    stage = scores_stage("harp", unit=unit, sparsity=sparsity)
    return RateLearner(network, prunable_view(network, data.shape, unit).modules, stage)


def set_shares(learner: RateLearner, shares: list[float]) -> None:
    """Set the parameters of the shares so that these come out, by hand."""
    least = learner._least
    places = [(share - least) / (1 - least) for share in shares]
    learner._rates.data = torch.tensor([math.log(place / (1 - place)) for place in places])


@pytest.mark.parametrize(("sparsity", "start"), [(0.99, 0.1), (0.7, 0.3)])
def test_shares_start_at_a_tenth_or_at_the_target(
    sparsity: float, start: float, trained: nn.Module, digits: Dataset
) -> None:
    learner = learner_of(trained, digits, "weight", sparsity)
    torch.testing.assert_close(learner.kept(), torch.full_like(learner.kept(), start))
    target = 0.1 / (1 - sparsity) - 1
    excess = float(learner.excess().detach())
    assert excess == pytest.approx(target if sparsity > 0.9 else 0, abs=1e-4)
    learner._rates.data.fill_(-100.0)
    torch.testing.assert_close(learner.kept(), torch.full_like(learner.kept(), (1 - sparsity) / 10))


@pytest.mark.parametrize("unit", ["weight", "channel"])
def test_the_excess_is_that_of_the_network_which_is_left(
    unit: str, trained: nn.Module, digits: Dataset
) -> None:
    """Against a network that was really cut to those shares, its weights counted."""
    learner = learner_of(trained, digits, unit, 0.9)
    cut = copy.deepcopy(trained)
    view = prunable_view(cut, digits.shape, unit)
    kept = {m.name: max(1, m.units * (2 + i % 3) // 5) for i, m in enumerate(view.modules)}
    set_shares(learner, [kept[m.name] / m.units for m in view.modules])
    view.remove({name: list(range(count)) for name, count in kept.items()})
    left = sum(int((layer.weight != 0).sum()) for layer in maskable(cut).values())
    whole = sum(layer.weight.numel() for layer in maskable(trained).values())
    assert float(learner.excess().detach()) == pytest.approx(left / whole / 0.1 - 1, rel=1e-4)


def test_a_share_has_the_gradient_of_all_its_gates(trained: nn.Module, digits: Dataset) -> None:
    learner = learner_of(trained, digits, "weight", 0.9)
    set_shares(learner, [0.1 + 0.05 * i for i in range(len(learner._modules_))])
    images, labels = digits.train.batch(slice(0, 20))
    pruned = copy.deepcopy(trained)
    dense = {name: layer.weight.detach() for name, layer in maskable(trained).items()}
    shares = learner.kept().detach()
    for (name, layer), share in zip(maskable(pruned).items(), shares, strict=True):
        lowest = dense[name].abs().flatten().argsort()[: int((1 - share) * layer.weight.numel())]
        layer.weight.data.view(-1)[lowest] = 0
    F.cross_entropy(pruned(images), labels).backward()
    (F.cross_entropy(learner(images), labels) + 0.5 * learner.excess()).backward()
    whole = sum(weight.numel() for weight in dense.values())
    for index, (name, layer) in enumerate(maskable(pruned).items()):
        gates = float((layer.weight.grad * dense[name]).sum())
        excess = 0.5 * dense[name].numel() / whole / 0.1
        place = float(torch.sigmoid(learner._rates[index].detach()))
        slope = place * (1 - place) * (1 - 0.01)
        assert float(learner._rates.grad[index]) == pytest.approx(
            slope * (gates + excess), rel=1e-3
        )


@pytest.mark.parametrize(
    ("ends", "weights"),
    [
        ([3.0, 2.0, 1.0], [1, 2, 3, 4]),
        ([3.0, 0.00004, 1.0, 0.0], [1, 2, 2, 2, 2]),  # once it was met, it stays
        ([0.0, 9.0], [1, 1, 1]),
    ],
)
def test_the_penalty_grows_until_an_epoch_ends_within_the_budget(
    ends: list[float], weights: list[int], trained: nn.Module, digits: Dataset
) -> None:
    """``ends`` are the excesses after each epoch; a resumed training goes on where it was."""
    learner = learner_of(trained, digits, "weight", 0.9)
    for epoch, weight in enumerate(weights):
        before = 5.0 if epoch == 0 else ends[epoch - 1]
        resumed = copy.deepcopy(learner)
        resumed.excess = lambda value=before: torch.tensor(value)
        assert float(resumed.penalty(epoch)) == pytest.approx(0.01 * weight * before)
        resumed.excess = lambda: torch.tensor(1.0)
        assert float(resumed.penalty(epoch)) == pytest.approx(0.01 * weight)
        learner.load_state_dict(resumed.state_dict())


@pytest.mark.parametrize("unit", ["weight", "channel"])
def test_allocation_harp_keeps_the_learned_shares_where_they_meet_the_budget(
    unit: str, trained: nn.Module, digits: Dataset
) -> None:
    learner = learner_of(trained, digits, unit, 0.6)
    set_shares(learner, [(0.2, 0.5, 0.8)[i % 3] for i in range(len(learner._modules_))])
    learned, raw = learner.scores(), [score.detach().abs() for score in learner._scores]
    asked = {}
    for module, score, share in zip(learner._modules_, raw, learner.kept().detach(), strict=True):
        asked[module.name] = score.numel() - int((1 - share) * score.numel())
        assert int((learned[module.name] >= 1).sum()) == asked[module.name]
        assert (learned[module.name][score.argsort()].diff() >= 0).all()
    gone = copy.deepcopy(trained)
    view = prunable_view(gone, digits.shape, unit)
    view.remove({name: list(range(count)) for name, count in asked.items()})
    whole, left = (sum(_left(network)) for network in (trained, gone))
    stage = pruned_stage(
        allocation="harp", granularity=unit, sparsity=1 - left / whole, min_keep=0.0
    )
    one = {module.name: torch.rand(module.units) for module in learner._modules_}
    cut = copy.deepcopy(trained)
    _, report = prune(cut, digits.shape, stage, one, learned)
    assert {module.module: module.width_after for module in report.modules} == asked


def _left(network: nn.Module) -> list[int]:
    return [
        int(layer.mask.sum()) if n == "weight" and hasattr(layer, "mask") else p.numel()
        for layer in network.modules()
        for n, p in layer.named_parameters(recurse=False)
    ]


def test_shares_are_trained_and_attacks_see_them(trained: nn.Module, digits: Dataset) -> None:
    learner = learner_of(trained, digits, "weight", 0.95)
    twin, images = Twin(learner), digits.train.batch(slice(0, 20))[0]
    set_shares(learner, [0.3] * len(learner._modules_))
    before = learner.kept().detach()
    twin.refresh(learner)
    torch.testing.assert_close(twin(images), learner.eval()(images), rtol=1e-4, atol=1e-4)

    def strong(epoch: int) -> Tensor:
        return 100 * learner.penalty(epoch)

    training.fit(learner, digits, SHORT, None, "key", penalty=strong)
    assert float(learner.excess().detach()) < 0.5 * (0.3 / 0.05 - 1)
    assert (learner.kept() < before).any()
    assert float(learner.kept().detach().std()) > 0.01


HARP = sweep_text(
    dataset="{name: digits, per_class: 20, test_per_class: 5}", criteria="[l1, harp]",
    sparsities="[0.9]", allocations="[harp]", granularities="[weight]",
    finetuning="{none: {epochs: 0}}", seeds="1",
)  # fmt: skip


def test_a_sweep_trains_them_once_for_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [j for j in make_plan(parse_sweep(HARP)).jobs.values() if j.kind == "scores"]
    (recipe,) = [j.stage.training for j in jobs if isinstance(j.stage, Scores) and j.stage.training]
    assert (recipe.objective, recipe.epochs, recipe.lr, recipe.weight_decay) == (
        "pgd", 20, 0.1, 5e-4,
    )  # fmt: skip
    called: list[int] = []
    plain = RateLearner.penalty
    monkeypatch.setattr(
        RateLearner, "penalty", lambda self, epoch: called.append(epoch) or plain(self, epoch)
    )
    run_sweep(f"{HARP}\npruning: {{harp: {{objective: standard, epochs: 2}}}}", tmp_path)
    assert sorted(set(called)) == [0, 1]
    assert called == sorted(called)
    done = trials(tmp_path)
    assert done["status"].tolist() == ["done", "done"]
    assert done["params_removed"].tolist() == pytest.approx([0.9, 0.9], abs=1e-3)
