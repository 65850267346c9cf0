"""HYDRA: scores trained as their authors do, as a job that can be resumed and is reckoned with."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orchestrator.planning.plan import make_plan
from orchestrator.planning.work import TYPICAL
from orchestrator.sweepfile.model import parse_sweep
from prune_core.attacks.evaluation import accuracy
from prune_core.data.datasets import Dataset
from prune_core.models.folding import Twin, foldable
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.masks import maskable
from prune_core.specs.registry import OBJECTIVES
from prune_core.specs.stages import Scores
from prune_core.training import loop as training
from prune_core.training.hydra import Learner
from prune_core.training.objectives import Context
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import EVERY_EPOCH, SHORT, run_sweep, scores_stage, sweep_text
from test_launch import Stopped, trials


def learner_of(network: nn.Module, data: Dataset, unit: str, sparsity: float = 0.9) -> Learner:
    stage = scores_stage("hydra", unit=unit, sparsity=sparsity)
    return Learner(network, prunable_view(network, data.shape, unit).modules, stage)


def test_scores_start_and_are_pruned_by_as_in_the_authors_code(
    trained: nn.Module, digits: Dataset
) -> None:
    learner = learner_of(trained, digits, "weight")
    images, labels = digits.train.batch(slice(0, 20))
    pruned = copy.deepcopy(trained)
    weights = {name: layer.get_parameter("weight") for name, layer in maskable(pruned).items()}
    dense = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, weight in dense.items():
        fan_in = weight[0].numel()
        start = math.sqrt(6 / fan_in) * weight.abs() / weight.abs().max()
        torch.testing.assert_close(learner.scores()[name], start.flatten())
        lowest = start.flatten().argsort()[: int(0.9 * start.numel())]
        weights[name].data.view(-1)[lowest] = 0
    torch.testing.assert_close(learner(images), pruned(images))
    F.cross_entropy(learner(images), labels).backward()
    F.cross_entropy(pruned(images), labels).backward()
    for (name, weight), score in zip(dense.items(), learner._scores, strict=True):
        # Straight through: the gradient by the weight as it acts, times the weight as it is.
        torch.testing.assert_close(score.grad, (weights[name].grad * weight).abs().flatten()
                                   * (weights[name].grad * weight).sign().flatten())  # fmt: skip


def test_s2ap_learns_at_the_scores_that_raise_the_loss_most_nearby(
    trained: nn.Module, digits: Dataset
) -> None:
    gamma, recipe = 0.3, SHORT.model_copy(update={"awp_gamma": 0.3, "awp_warmup": 0.0})
    learner = learner_of(trained, digits, "weight").train()
    images, labels = digits.train.batch(slice(0, 50))
    slow = copy.deepcopy(learner)
    first = torch.autograd.grad(F.cross_entropy(slow(images), labels), list(slow._scores))
    with torch.no_grad():
        steps = [gamma * s.norm() / g.norm() * g for s, g in zip(slow._scores, first, strict=True)]
        for score, step in zip(slow._scores, steps, strict=True):
            score.add_(step)
    F.cross_entropy(slow(images), labels).backward()
    context = Context(recipe, lambda *_: images)
    OBJECTIVES.load("awp:standard")(learner, images, labels, context)[0].backward()
    for mine, other in zip(learner._scores, slow._scores, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("unit", ["weight", "channel"])
def test_scores_are_trained_and_weights_are_not(
    unit: str, trained: nn.Module, digits: Dataset
) -> None:
    before = copy.deepcopy(trained.state_dict())
    learner = learner_of(trained, digits, unit, 0.7)
    start, first = accuracy(learner, digits.validation), learner.scores()
    training.fit(learner, digits, SHORT, None, "key")
    assert accuracy(learner, digits.validation) > start + 0.1
    assert all(not torch.equal(first[name], score) for name, score in learner.scores().items())
    for name, layer in maskable(learner.network).items():
        assert torch.equal(layer.weight, before[f"{name}.weight"])
    assert not torch.equal(learner.network.network.bn.weight, before["network.bn.weight"])
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())


@pytest.mark.parametrize("unit", ["weight", "channel"])
def test_attacks_run_on_its_twin(unit: str, trained: nn.Module, digits: Dataset) -> None:
    """Gates and folding go together, and the twin follows the scores."""
    learner = learner_of(trained, digits, unit, 0.5).eval()
    assert len(foldable(learner)) == len(foldable(trained)) > 0
    twin, images = Twin(learner), digits.train.batch(slice(0, 20))[0]
    torch.testing.assert_close(twin(images), learner(images), rtol=1e-4, atol=1e-4)
    before = twin(images)
    with torch.no_grad():
        for score in learner._scores:
            score.copy_(score.flip(0))
    twin.refresh(learner)
    torch.testing.assert_close(twin(images), learner(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(twin(images), before)


HYDRA = sweep_text(
    criteria="[hydra]",
    finetuning="{none: {epochs: 0}}",
    seeds="1",
    pruning="{hydra: {objective: standard, epochs: 2, lr: 0.1}}",
    resources=EVERY_EPOCH,
)


def test_the_default_is_the_authors_budget_and_plans_reckon_with_it() -> None:
    text = HYDRA.replace("pruning: {hydra: {objective: standard, epochs: 2, lr: 0.1}}", "")
    (job,) = [j for j in make_plan(parse_sweep(text)).jobs.values() if j.kind == "scores"]
    assert isinstance(job.stage, Scores)
    recipe = job.stage.training
    assert (recipe.objective, recipe.beta, recipe.epochs, recipe.batch_size) == (
        "trades", 6.0, 20, 128,
    )  # fmt: skip
    assert (recipe.optimizer, recipe.lr, recipe.momentum, recipe.weight_decay, recipe.schedule) == (
        "sgd", 0.1, 0.9, 1e-4, "cosine",
    )  # fmt: skip
    assert (recipe.attack_steps, recipe.attack_step) == (10, 0.25)
    assert job.stage.threat is not None
    assert (job.weight, job.batch_size) == (20 * (3 + 15) * TYPICAL, 128)
    (fewer,) = [
        j for j in make_plan(parse_sweep(text + "\npruning: {hydra: {epochs: 3}}")).jobs.values()
        if j.kind == "scores"
    ]  # fmt: skip
    assert fewer.stage.training == recipe.model_copy(update={"epochs": 3})
    (short,) = [j for j in make_plan(parse_sweep(HYDRA)).jobs.values() if j.kind == "scores"]
    assert (short.weight, short.stage.threat) == (6 * TYPICAL, None)


def test_a_training_of_scores_that_is_stopped_goes_on(tmp_path: Path) -> None:
    plain, fit, fitted = Storage.write, training.fit, []

    def stop_late(self: Storage, data: bytes, *parts: str) -> None:
        plain(self, data, *parts)
        if parts[:2] == ("artifacts", "scores"):
            raise Stopped

    def noting(network, data, recipe, threat, key, checkpoint, *rest, **more):
        fitted.append((type(network).__name__, len(checkpoint.history) if checkpoint else 0))
        return fit(network, data, recipe, threat, key, checkpoint, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Storage, "write", stop_late)
        with pytest.raises(Stopped):
            run_sweep(HYDRA, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", noting)
        run_sweep(HYDRA, tmp_path)
    assert fitted == [("Learner", 1)]
    assert trials(tmp_path)["status"].tolist() == ["done"]
    assert not list(tmp_path.glob("artifacts/scores/*/checkpoint*"))
    epochs = Tables(Storage(str(tmp_path))).read("epochs")
    assert epochs["stage"].tolist() == ["dense", "dense", "scores", "scores"]
