"""Damage curves: they measure what pruning loses, and a budget is spent where it hurts least."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import Shape
from prune_core.pruning.ratios.climb import make_problem
from prune_core.pruning.ratios.curves import Curve, along, curves_of, path
from prune_core.pruning.ratios.removal import without
from prune_core.pruning.ratios.sensitivities import measure_removal
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sensitivity

from conftest import THREAT, dense_stage, scores_stage

SHAPE = (3, 32, 32)


def stage(estimator: str, granularity: str = "channel") -> Sensitivity:
    estimation = Estimation(samples=128, attack_steps=3, shares=(0.25, 0.5, 0.75))
    return Sensitivity(
        network=dense_stage(), estimator=estimator, scores=scores_stage("l1"),
        granularity=granularity, estimation=estimation, threat=THREAT,
    )  # fmt: skip


def scores_of(network: nn.Module, shape: Shape, granularity: str) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(3)
    modules = prunable_view(network, shape, granularity).modules
    return {module.name: torch.rand(module.units, generator=draw) for module in modules}


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "mobilenetv2"])
def test_a_network_without_channels_is_the_pruned_one(name: str) -> None:
    """BatchNorm's shift included, and all layers that are coupled; afterwards it is whole again."""
    network = architectures.build(name, SHAPE, 10, (0.5,) * 3, (0.25,) * 3, 0).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.bias, -1, 1, generator=torch.Generator().manual_seed(1))
    images = torch.rand(4, *SHAPE)
    whole = network(images)
    for module in list(prunable_view(network, SHAPE, "channel").modules)[::4]:
        gone = range(0, module.units, 2)
        with without(network, module, gone), torch.no_grad():
            found = network(images)
        pruned = copy.deepcopy(network)
        view = prunable_view(pruned, SHAPE, "channel")
        everything = {m.name: list(range(m.units)) for m in view.modules}
        view.remove(everything | {module.name: list(range(1, module.units, 2))})
        torch.testing.assert_close(found, pruned(images), rtol=1e-4, atol=1e-4)
        assert not torch.equal(found, whole)
    assert torch.equal(network(images), whole)


@pytest.mark.parametrize("granularity", ["channel", "weight", "2:4"])
@pytest.mark.parametrize("estimator", ["damage", "scan"])
def test_what_is_measured_is_what_pruning_loses(
    estimator: str, granularity: str, trained: nn.Module, digits: datasets.Dataset
) -> None:
    scores = scores_of(trained, digits.shape, granularity)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    view = prunable_view(trained, digits.shape, granularity)
    found = measure_removal(trained, view, scores, digits, stage(estimator, granularity))
    assert all(torch.equal(before[name], t) for name, t in trained.state_dict().items())
    assert list(found) == [module.name for module in view.modules]
    problem = make_problem(trained, digits, stage(estimator, granularity))
    module = view.modules[1]
    pruned = copy.deepcopy(trained)
    other = prunable_view(pruned, digits.shape, granularity)
    kept = {m.name: list(range(m.units)) for m in other.modules}
    kept[module.name] = view.select(module, scores[module.name], module.units // 2)
    other.remove(kept)

    def loss(network: nn.Module) -> float:
        parts = [F.cross_entropy(network(x), y, reduction="sum").item() for x, y in problem.batches]
        return sum(parts) / problem.count

    def right(network: nn.Module) -> int:
        return sum(int((network(x).argmax(1) == y).sum()) for x, y in problem.clean)

    if estimator == "damage":
        expected = loss(pruned.eval()) - loss(trained)
        assert found[module.name].rises[1] == found[module.name].value
    else:
        expected = (right(trained) - right(pruned.eval())) / problem.count
    assert found[module.name].value == pytest.approx(expected, abs=1e-5)


def test_the_curve_is_the_convex_one_below_the_points() -> None:
    curve = Curve.of((0.25, 0.5, 0.75), (-0.1, 0.4, 0.3))
    assert curve.removed == (0.0, 0.25, 1.0)
    assert curve.rises == pytest.approx((0.0, 0.0, 0.4))
    convex = Curve.of((0.25, 0.5, 0.75), (0.1, 0.3, 0.6))
    assert convex.at(np.array([0.25, 0.5, 0.75, 1.0])) == pytest.approx([0.1, 0.3, 0.6, 0.9])


def test_a_loss_that_is_no_number_outweighs_every_other() -> None:
    curves = curves_of({"a": (0.1, math.inf), "b": (0.1, 2.0)}, (0.25, 0.5))
    assert curves["a"].at(0.5) == pytest.approx(20)
    assert curves_of({"a": (math.inf,)}, (0.5,))["a"].at(0.5) == pytest.approx(10)


UNITS = (8, 8, 8)
EVERY = np.array(list(itertools.product(range(9), repeat=3)))


def exhaustive(curves: list[Curve], cost: np.ndarray, budget: float) -> float:
    """The least sum of rises of all networks that cost no more."""
    rises = sum(curve.at(1 - EVERY[:, i] / 8) for i, curve in enumerate(curves))
    return float(rises[cost <= budget + 1e-9].min())


@pytest.mark.parametrize("multiply", [False, True])
def test_no_network_of_the_same_cost_suffers_less(multiply: bool) -> None:
    """By a search of all networks; where costs multiply, hardly less, but near nothing left."""
    lost = []
    for seed in range(6):
        draw = np.random.default_rng(seed)
        curves = [Curve.of((0.25, 0.5, 0.75), draw.random(3).cumsum() ** 2) for _ in UNITS]
        each = draw.integers(1, 20, 3)

        def cost(kept: np.ndarray, each: np.ndarray = each) -> np.ndarray:
            x, y, z = (kept[..., i] for i in range(3))
            if not multiply:
                return each[0] * x + each[1] * y + each[2] * z
            return 3 * each[0] * x + each[1] * x * y + each[2] * y * z + 5 * z

        costs, whole = cost(EVERY), float(cost(np.array(UNITS)))
        total = sum(float(curve.at(1.0)) for curve in curves)
        for shares in path(curves, UNITS, cost):
            spent = float(cost(np.rint(shares * 8).astype(int)))
            pairs = zip(curves, shares, strict=True)
            rises = sum(float(curve.at(1 - share)) for curve, share in pairs)
            if not multiply or 0.1 < spent / whole < 0.7:
                lost.append((rises - exhaustive(curves, costs, spent)) / total)
    assert min(lost) > -1e-9
    assert max(lost) < (0.15 if multiply else 1e-9)
    assert np.mean(lost) < (0.01 if multiply else 1e-9)


def test_a_path_goes_from_whole_to_nothing() -> None:
    curves = [Curve.of((0.5,), (rise,)) for rise in (1.0, 0.0, 0.0)]
    shares = path(curves, UNITS, lambda kept: kept.sum(-1))
    assert (np.diff(shares, axis=0) <= 0).all()
    assert shares[0].tolist() == [1, 1, 1]
    assert shares[-1].tolist() == [0, 0, 0]
    # Modules that cost nothing go first, in turn.
    assert along(shares, 2 / 3).tolist() == [1, 0.5, 0.5]
