"""Sensitivities: the exact value against slow searches, and what cannot be missed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from prune_core import datasets, sensitivities
from prune_core.modules import Anatomy
from prune_core.sensitivities import Problem, by_module, measure, mrs
from prune_core.specs import Estimation
from prune_core.stages import Sensitivity

from conftest import THREAT, dense_stage
from rows import names


def stage(estimator: str = "mrs", **changes: float) -> Sensitivity:
    estimation = Estimation(**{"samples": 128, "attack_steps": 3, "steps": 8, **changes})
    return Sensitivity(
        dense=dense_stage(), estimator=estimator, estimation=estimation, threat=THREAT
    )


@pytest.mark.parametrize("name", names("sensitivities"))
def test_invariants(name: str, trained: nn.Module, digits: datasets.Dataset) -> None:
    before = {k: v.clone() for k, v in trained.state_dict().items()}
    modules = Anatomy(trained, digits.shape).modules
    found = measure(trained, modules, digits, stage(name))
    torch.manual_seed(5)
    again = measure(trained, modules, digits, stage(name))
    assert found == again
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    assert set(found) == {layer for m in modules for layer in m.makers()}
    for value in found.values():
        assert value.value == max(value.restarts)
        assert value.value > 0
    by = by_module(modules, found)
    assert set(by) == {module.name for module in modules}
    for module in modules:
        assert by[module.name] == max(found[x].value for x in module.makers())


def problem_of(network: nn.Module, epsilon: float = 0.3) -> Problem:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 6, generator=generator)
    labels = torch.randint(3, (64,), generator=generator)
    loss = F.cross_entropy(network(images), labels).item()
    estimation = Estimation(epsilon=epsilon, steps=40, restarts=2)
    return Problem(network, [(images[:40], labels[:40]), (images[40:], labels[40:])], loss,
                   estimation, "key")  # fmt: skip


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
    exact = max(mrs(problem, "layer"))
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


def test_the_perturbation_stays_in_the_ball(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Net()
    origin = network.layer.weight.detach().clone()
    seen = []
    plain = Problem.loss_and_gradient

    def watch(self: Problem, weight: torch.Tensor) -> tuple[float, torch.Tensor]:
        seen.append(float((weight.detach() - origin).norm() / origin.norm()))
        return plain(self, weight)

    monkeypatch.setattr(Problem, "loss_and_gradient", watch)
    mrs(problem_of(network, epsilon=0.2), "layer")
    assert max(seen) <= 0.2 + 1e-6
    assert max(seen) == pytest.approx(0.2, rel=1e-3)


def test_a_loss_that_is_not_a_number_counts_as_infinite() -> None:
    class Breaks(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            moved = (self.layer.weight - self.start).abs().max() > 1e-3
            return super().forward(x) * (math.nan if moved else 1.0)

    network = Breaks()
    network.start = network.layer.weight.detach().clone()
    assert max(mrs(problem_of(network), "layer")) == math.inf


def test_a_wider_ball_never_rises_less(trained: nn.Module, digits: datasets.Dataset) -> None:
    modules = Anatomy(trained, digits.shape).modules
    small, large = (
        measure(trained, modules, digits, stage(epsilon=e)) for e in (0.02, 0.2)
    )  # fmt: skip
    assert all(large[layer].value > small[layer].value for layer in small)


def test_all_estimators_look_at_the_same_adversarial_set(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    first, second = (
        sensitivities._problem(trained, digits, stage(name)) for name in ("mrs", "mrs-few-step")
    )
    for (x, y), (other_x, other_y) in zip(first.batches, second.batches, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


@pytest.mark.parametrize(
    ("first_three", "expected"), [([0, 0.1, 0.2, 0.3], 1.1), ([0, 0.2, 0.29, 0.3], 0.3)]
)
def test_the_few_step_estimate_goes_on_where_the_loss_still_rises(
    first_three: list[float], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plateau: three steps see little, twelve cross it."""
    rises = [*first_three, *[0.5] * 8, 1.1]
    monkeypatch.setattr(
        sensitivities, "_ascend", lambda problem, layer, steps, restart: rises[: steps + 1]
    )
    assert sensitivities.mrs_few_step(problem_of(Net()), "layer") == [expected]
