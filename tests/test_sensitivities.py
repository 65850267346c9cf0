"""Sensitivities: the exact value against slow searches, and what cannot be missed."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_core.data import datasets
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.masks import attach, hold, maskable
from prune_core.pruning.ratios import climb, sensitivities
from prune_core.pruning.ratios.climb import Problem, make_problem
from prune_core.pruning.ratios.sensitivities import (
    by_module,
    measure,
    perturbation,
    perturbation_few_step,
)
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sensitivity

from conftest import THREAT, dense_stage
from rows import names


def stage(estimator: str = "perturbation", **changes: object) -> Sensitivity:
    estimation = Estimation(**{"samples": 128, "attack_steps": 3, "steps": 8, **changes})
    return Sensitivity(
        network=dense_stage(), estimator=estimator, estimation=estimation, threat=THREAT
    )


PERTURBATIONS = [name for name in names("sensitivities") if name.startswith("perturbation")]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_invariants(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    layers = list(maskable(trained))
    found = measure(trained, layers, digits, stage(name))
    torch.manual_seed(5)
    again = measure(trained, layers, digits, stage(name))
    assert found == again
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    assert not any("forward" in m.__dict__ for m in trained.modules())
    assert list(found) == layers
    for value in found.values():
        assert value.value == max(value.rises) > 0
        assert value.value - value.spread == pytest.approx(min(value.rises))
    modules = Channels(trained, digits.shape).modules
    by = by_module(modules, found)
    assert set(by) == {module.name for module in modules}
    for module in modules:
        assert by[module.name].value == max(found[x].value for x in module.makers())


def test_the_spectral_norm_gives_a_smaller_ball(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    layer = "network.stages.1.0.conv1"
    found = {
        norm: measure(trained, [layer], digits, stage("perturbation-first-order", norm=norm))
        for norm in ("frobenius", "spectral")
    }
    matrix = trained.get_parameter(f"{layer}.weight").detach().flatten(1).numpy()
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    ratio = found["spectral"][layer].value / found["frobenius"][layer].value
    assert ratio == pytest.approx(largest / np.linalg.norm(matrix), rel=1e-5)


def test_first_order_is_the_slope_times_the_radius(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    """By a finite difference along the gradient."""
    problem = make_problem(trained, digits, stage("perturbation-first-order"))
    layer = "network.conv"
    weight = trained.get_parameter(f"{layer}.weight")
    origin, gradient = weight.detach().clone(), problem.start[1][layer]
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        weight.copy_(origin + step)
        total = sum(float(F.cross_entropy(trained(x), y, reduction="sum"))
                    for x, y in problem.batches) / problem.count  # fmt: skip
        weight.copy_(origin)
    slope = (total - problem.base_loss) / 1e-3
    found = sensitivities.perturbation_first_order(problem, layer)
    assert found == [pytest.approx(0.1 * float(origin.norm()) * slope, rel=0.05)]


def test_masked_weights_stay_at_zero_while_a_layer_climbs(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    network = copy.deepcopy(trained)
    layer = network.get_submodule("network.conv")
    attach(layer, torch.arange(16).view(-1, 1, 1, 1).expand(16, 1, 3, 3) % 2 == 0)
    hold([layer])
    seen: list[float] = []
    hook = layer.register_forward_pre_hook(
        lambda m, _: seen.append(float(m.weight[1::2].detach().abs().max()))
    )
    for name in ("perturbation", "perturbation-few-step"):
        measure(network, ["network.conv"], digits, stage(name, samples=64, steps=3))
    hook.remove()
    assert max(seen) == 0


def problem_of(network: nn.Module, epsilon: float = 0.3) -> Problem:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 6, generator=generator)
    labels = torch.randint(3, (64,), generator=generator)
    estimation = Estimation(epsilon=epsilon, steps=40, restarts=2)
    batches = [(images[:40], labels[:40]), (images[40:], labels[40:])]
    return Problem(network, batches, batches, estimation, "key")


class Net(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3, bias=False)
        self.scale = scale
        nn.init.normal_(self.layer.weight, generator=torch.Generator().manual_seed(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.layer(x)


def test_the_exact_value_is_the_maximum_over_the_ball() -> None:
    """The loss is convex in this layer: fixed points of offset = radius * unit gradient, from many
    random starts, are an independent search for the maximum, which lies on the ball's edge."""
    network = Net()
    problem = problem_of(network)
    exact = max(perturbation(problem, "layer"))
    weight = network.layer.weight.detach().clone()
    radius = 0.3 * weight.norm()
    images, labels = (torch.cat(parts) for parts in zip(*problem.batches, strict=True))
    generator = torch.Generator().manual_seed(2)
    found = []
    for _ in range(30):
        offset = torch.randn(weight.shape, generator=generator)
        offset *= radius / offset.norm()
        for _ in range(200):
            moved = (weight + offset).requires_grad_()
            loss = F.cross_entropy(images @ moved.T, labels)
            (gradient,) = torch.autograd.grad(loss, moved)
            offset = radius * gradient / gradient.norm()
        found.append(loss.item() - problem.base_loss)
    assert exact == pytest.approx(max(found), rel=1e-3)


def test_the_perturbation_stays_in_the_ball() -> None:
    network = Net()
    origin = network.layer.weight.detach().clone()
    seen: list[float] = []
    network.layer.register_forward_pre_hook(
        lambda m, _: seen.append(float((m.weight.detach() - origin).norm() / origin.norm()))
    )
    problem = problem_of(network, epsilon=0.2)
    for estimator in (perturbation, perturbation_few_step):
        seen.clear()
        estimator(problem, "layer")
        assert max(seen) <= 0.2 + 1e-6
        assert max(seen) == pytest.approx(0.2, rel=1e-3)
    assert torch.equal(network.layer.weight, origin)


def test_a_loss_that_is_not_a_number_counts_as_infinite() -> None:
    class Breaks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            moved = (self.layer.weight - self.start).abs().max() > 1e-3
            return super().forward(x) * (math.nan if moved else 1.0)

    network = Breaks()
    network.start = network.layer.weight.detach().clone()
    assert max(perturbation(problem_of(network), "layer")) == math.inf


def test_a_wider_ball_never_rises_less(trained: nn.Module, digits: datasets.Dataset) -> None:
    layers = list(maskable(trained))
    small, large = (measure(trained, layers, digits, stage(epsilon=e)) for e in (0.02, 0.2))
    assert all(large[layer].value > small[layer].value for layer in small)


def test_all_estimators_look_at_the_same_adversarial_set(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    first, second = (
        make_problem(trained, digits, stage(name))
        for name in ("perturbation", "perturbation-few-step")
    )
    for (x, y), (other_x, other_y) in zip(first.batches, second.batches, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


class Plateau(Net):
    """A loss that rises gently one way from the weights, and steeply, but only far out, another."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.origin = self.layer.weight.detach().clone()
        self.radius = 0.3 * float(self.origin.norm())
        self.sharpness = sharpness

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gentle, steep, *_ = (self.layer.weight - self.origin).flatten() / self.radius
        far = 2 * F.softplus(self.sharpness * (steep - 0.6))
        return torch.stack([-0.36 * gentle - far, 0 * far, 0 * far]).expand(len(x), 3)


def plateau(sharpness: float) -> Problem:
    problem = problem_of(Plateau(sharpness))
    return replace(problem, batches=[(x, torch.zeros_like(y)) for x, y in problem.batches])


def test_the_few_step_estimate_crosses_a_plateau(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five half-radius steps, as one might take, see hardly anything of the rise behind it."""
    problem = plateau(sharpness=12.0)
    exact, few = max(perturbation(problem, "layer")), max(perturbation_few_step(problem, "layer"))
    assert few > 0.95 * exact
    monkeypatch.setattr(climb, "STEP", 0.5)
    problem = replace(problem, estimation=Estimation(epsilon=0.3, few_steps=5))
    monkeypatch.setattr(sensitivities, "_still_rises", lambda rises: False)
    assert max(perturbation_few_step(problem, "layer")) < 0.05 * exact


def test_the_few_step_estimate_goes_on_while_the_loss_still_rises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = plateau(sharpness=12.25)
    exact = max(perturbation(problem, "layer"))
    assert max(perturbation_few_step(problem, "layer")) > 0.95 * exact
    monkeypatch.setattr(sensitivities, "_still_rises", lambda rises: False)
    assert max(perturbation_few_step(problem, "layer")) < 0.8 * exact
