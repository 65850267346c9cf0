"""Objectives against their papers' formulas, one image and one class at a time; their attacks."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune_core.data import datasets
from prune_core.pruning.prunable import masks
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.training.objectives import Context

from conftest import blank
from rows import names

COUNT = 24


def probabilities(logits: Tensor, heat: float = 1.0) -> list[list[float]]:
    rows = []
    for row in logits.detach().double().tolist():
        powers = [math.exp(value / heat) for value in row]
        rows.append([power / sum(powers) for power in powers])
    return rows


def divergence(target: list[float], found: list[float]) -> float:
    return sum(t * (math.log(t) - math.log(f)) for t, f in zip(target, found, strict=True))


def cross_entropy(logits: Tensor, labels: list[int], smoothing: float = 0.0) -> float:
    total = 0.0
    for row, label in zip(probabilities(logits), labels, strict=True):
        for index, p in enumerate(row):
            target = smoothing / len(row) + (1 - smoothing) * (index == label)
            total -= target * math.log(p)
    return total / len(labels)


def slow_trades(clean: Tensor, robust: Tensor, labels: list[int], beta: float) -> float:
    """Equation 5 of TRADES, its inner maximum given."""
    pairs = zip(probabilities(clean), probabilities(robust), strict=True)
    apart = sum(divergence(c, r) for c, r in pairs) / len(labels)
    return cross_entropy(clean, labels) + beta * apart


def slow_mart(clean: Tensor, robust: Tensor, labels: list[int], beta: float) -> float:
    """Equations 8 to 10 of MART, the logarithm kept finite as in its code."""
    total = 0.0
    for c, r, y in zip(probabilities(clean), probabilities(robust), labels, strict=True):
        runner_up = max(p for index, p in enumerate(r) if index != y)
        boosted = -math.log(r[y]) - math.log(1.0001 - runner_up)
        total += boosted + beta * divergence(c, r) * (1 - c[y])
    return total / len(labels)


class Setting:
    """A batch, its attacked images given, and a network in training mode."""

    def __init__(self, trained: nn.Module, digits: datasets.Dataset):
        self.images, self.labels = digits.train.batch(slice(0, COUNT))
        noise = torch.rand(self.images.shape, generator=torch.Generator().manual_seed(0)) - 0.5
        self.attacked = (self.images + 0.3 * noise).clamp(0, 1)
        self.network = copy.deepcopy(trained).train()
        self.teacher = blank(digits, seed=9)
        self.kinds: list[str] = []
        self.progress = 1.0

    def adversary(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        self.kinds.append(kind)
        return self.attacked

    def passes(self) -> tuple[Tensor, Tensor]:
        """Logits of the clean and of the attacked images, apart, by a network left aside."""
        network = copy.deepcopy(self.network)
        return network(self.images), network(self.attacked)

    def run(self, objective: str, **settings: object) -> tuple[Tensor, Tensor]:
        training = Training(objective=objective, epochs=1, **settings).resolved()
        context = Context(training, self.adversary, self.teacher, self.progress)
        loss = OBJECTIVES.load(objective)
        return loss(self.network, self.images, self.labels, context)


@pytest.fixture
def setting(trained: nn.Module, digits: datasets.Dataset) -> Setting:
    return Setting(trained, digits)


SLOW: dict[str, Callable[[Tensor, Tensor, list[int]], float]] = {
    "standard": lambda clean, robust, labels: cross_entropy(clean, labels),
    "fgsm": lambda clean, robust, labels: cross_entropy(robust, labels),
    "pgd": lambda clean, robust, labels: cross_entropy(robust, labels),
    "trades": lambda clean, robust, labels: slow_trades(clean, robust, labels, 6.0),
    "mart": lambda clean, robust, labels: slow_mart(clean, robust, labels, 5.0),
}


UNTAUGHT = [name for name in names("objectives") if "teacher" not in OBJECTIVES[name].needs]


@pytest.mark.parametrize("objective", [name for name in UNTAUGHT if ":" not in name])
def test_against_the_formula(objective: str, setting: Setting) -> None:
    clean, robust = setting.passes()
    expected = SLOW[objective](clean, robust, setting.labels.tolist())
    loss, logits = setting.run(objective)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(logits, clean if objective == "standard" else robust)
    attacks = {"standard": [], "trades": ["trades"], "mart": ["mart"]}
    assert setting.kinds == attacks.get(objective, ["pgd"])


@pytest.mark.parametrize("objective", ["standard", "fgsm", "pgd"])
def test_label_smoothing(objective: str, setting: Setting) -> None:
    logits = setting.passes()[objective != "standard"]
    loss, _ = setting.run(objective, label_smoothing=0.2)
    expected = cross_entropy(logits, setting.labels.tolist(), 0.2)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_robust_distillation_is_that_of_its_authors(share: float, setting: Setting) -> None:
    clean, robust = setting.passes()
    labels = setting.labels.tolist()
    student = probabilities(robust, 30.0)
    teacher = probabilities(setting.teacher(setting.images), 30.0)
    apart = sum(divergence(t, s) for t, s in zip(teacher, student, strict=True))
    apart /= len(labels) * clean.shape[1]  # a mean over classes too
    loss, logits = setting.run("ard", distill_weight=share)
    expected = share * 900 * apart + (1 - share) * cross_entropy(clean, labels)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(logits, robust)
    assert setting.kinds == ["pgd"]
    recipe = Training(objective="ard", epochs=1).resolved()
    assert (recipe.temperature, recipe.distill_weight) == (30.0, 1.0)
    assert (recipe.attack_steps, recipe.attack_step, recipe.attack_mode) == (10, 0.25, "train")


@pytest.mark.parametrize("inner", ["standard", "pgd", "trades"])
def test_distillation_shares_the_loss_with_the_teacher(inner: str, setting: Setting) -> None:
    clean, robust = setting.passes()
    labels = setting.labels.tolist()
    own = SLOW[inner](clean, robust, labels)
    student = probabilities(clean if inner == "standard" else robust, 3.0)
    teacher = probabilities(setting.teacher(setting.images), 3.0)
    apart = sum(divergence(t, s) for t, s in zip(teacher, student, strict=True)) / len(labels)
    loss, _ = setting.run(f"distill:{inner}", distill_weight=0.7, temperature=3.0)
    assert float(loss.detach()) == pytest.approx(0.3 * own + 0.7 * 9 * apart, rel=1e-4)
    assert all(p.grad is None for p in setting.teacher.parameters())


@pytest.mark.parametrize("inner", ["standard", "pgd", "trades", "distill:mart"])
def test_awp_is_the_objective_at_perturbed_weights(inner: str, setting: Setting) -> None:
    gamma = 0.05
    before = copy.deepcopy(setting.network)
    # By hand: the gradient, the perturbation in place, the loss and its gradient there.
    moved = copy.deepcopy(setting.network)
    setting.network = copy.deepcopy(moved)
    loss, _ = setting.run(inner)
    loss.backward()
    for weight, ours in zip(moved.parameters(), setting.network.parameters(), strict=True):
        if weight.dim() > 1:
            length = gamma * float(weight.detach().norm())
            weight.data += length * ours.grad / ours.grad.norm()
    setting.network = moved
    loss, _ = setting.run(inner)
    loss.backward()
    expected = float(loss.detach())
    gradients = [p.grad for p in moved.parameters()]
    setting.network, setting.kinds = before, []
    found, _ = setting.run(f"awp:{inner}", awp_gamma=gamma)
    found.backward()
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)
    for parameter, gradient in zip(before.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
    assert len(setting.kinds) == (inner != "standard")  # the same images are met again


def test_awp_perturbs_after_its_warm_up_alone(setting: Setting) -> None:
    losses = {}
    for name, progress in (("trades", 0.0), ("awp:trades", 0.0), ("awp:trades", 9 / 200)):
        setting.progress, network = progress, copy.deepcopy(setting.network)
        losses[name, progress], _ = setting.run(name)
        setting.network = network
    plain, before, after = losses.values()
    assert torch.equal(plain, before)
    assert after > before


def test_awp_perturbs_what_is_called_a_weight(setting: Setting) -> None:
    """As in the authors' code: no class token and no layer scale."""
    token = nn.Parameter(torch.zeros(1, *setting.images.shape[1:]))
    setting.network.token = token
    seen: list[Tensor] = []

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        seen.append(module.token)
        return inputs[0] + module.token

    setting.network.register_forward_pre_hook(add)
    setting.run("awp:pgd", awp_gamma=0.5)
    assert [tensor is token for tensor in seen] == [True, True]


def test_awp_leaves_weights_statistics_and_masks_alone(setting: Setting) -> None:
    layer = setting.network.network.stages[1][0].conv1
    mask = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    masks.attach(layer, mask)
    masks.hold([layer])
    plain = copy.deepcopy(setting.network)
    weights = {name: p.detach().clone() for name, p in plain.named_parameters()}
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, _: seen.append(module.weight.detach().clone()))
    setting.run("awp:pgd", awp_gamma=0.1)
    assert all(torch.equal(weights[n], p) for n, p in setting.network.named_parameters())
    assert len(seen) == 2
    assert not torch.equal(seen[1], seen[0])
    assert bool((seen[1][~mask] == 0).all())  # what is pruned stays pruned where the loss is taken
    # BatchNorm followed one pass, that of the loss.
    steps = setting.network.network.bn.num_batches_tracked
    assert int(steps) == int(plain.network.bn.num_batches_tracked) + 1


@pytest.mark.parametrize("objective", names("objectives"))
def test_what_objectives_leave_behind(objective: str, setting: Setting) -> None:
    state = torch.random.get_rng_state()
    loss, logits = setting.run(objective)
    assert loss.shape == ()
    assert logits.shape == (COUNT, 10)
    assert setting.network.training
    assert all(p.grad is None for p in setting.network.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    loss.backward()
    assert all(p.grad is not None for p in setting.network.parameters())


@pytest.mark.parametrize(
    ("objective", "missing", "message"),
    [
        ("pgd", "adversary", "needs a threat"),
        ("awp:pgd", "adversary", "needs a threat"),
        ("distill:pgd", "teacher", "learns from the dense network"),
        ("trades", "beta", "reads beta"),
    ],
)
def test_what_an_objective_lacks_is_an_error(
    objective: str, missing: str, message: str, setting: Setting
) -> None:
    training = Training(objective=objective, epochs=1).resolved()
    context = Context(
        training.model_copy(update={"beta": None}) if missing == "beta" else training,
        None if missing == "adversary" else setting.adversary,
        None if missing == "teacher" else setting.teacher,
    )
    with pytest.raises(ValueError, match=message):
        OBJECTIVES.load(objective)(setting.network, setting.images, setting.labels, context)
