"""Criteria that look at images, against answers that look at one image at a time."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.groups import Member
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.scores.criteria import thinet
from prune_core.pruning.scores.layer import Layer
from prune_core.pruning.scores.maps import contributions
from prune_core.pruning.scores.signals import MAP_IMAGES, Signals

from conftest import scores_stage
from test_criteria import INNER, READER, scores


class Slow:
    """The trained network's losses and gradients, image by image, as doubles."""

    def __init__(self, network: nn.Module, data: Dataset, adversarial: bool = False) -> None:
        stage = scores_stage("adv-taylor" if adversarial else "taylor")
        batches = Signals(network, data, [], stage).batches
        self.network = copy.deepcopy(network).double()
        self.images = torch.cat([x for x, _ in batches]).double()
        self.labels = torch.cat([y for _, y in batches])

    def weight(self, layer: str) -> Tensor:
        return self.network.get_parameter(f"{layer}.weight")

    def gradients(self, *layers: str) -> tuple[Tensor, ...]:
        """The gradients of every image's loss [images, *weight], by layer."""
        weights = [self.weight(layer) for layer in layers]
        gradients = []
        for image, label in zip(self.images, self.labels, strict=True):
            loss = F.cross_entropy(self.network(image[None]), label[None])
            gradients.append(torch.autograd.grad(loss, weights))
        return tuple(map(torch.stack, zip(*gradients, strict=True)))

    def loss(self) -> Tensor:
        return F.cross_entropy(self.network(self.images), self.labels)


def unit(weight: Tensor, side: str, channel: int) -> Tensor:
    """What belongs to a channel, of weights [..., out, in, kernel, kernel]."""
    return weight[..., channel, :, :, :] if side == "out" else weight[..., :, channel, :, :]


def mean_square(weight: Tensor, gradients: Tensor, size: int) -> float:
    """The mean square of the first-order change, over batches of so many images."""
    changes = [float((weight * batch.mean(0)).sum()) for batch in gradients.split(size)]
    return sum(change**2 for change in changes) / len(changes)


BY_IMAGE = {
    # (weight, gradient by image) -> score, one unit.
    "taylor": lambda w, g: mean_square(w, g, 64),
    "snip": lambda w, g: float((w * g.mean(0)).abs().sum()),
    "fisher": lambda w, g: mean_square(w, g, 1) / 2,
}
BY_IMAGE |= {f"adv-{name}": score for name, score in BY_IMAGE.items()}


@pytest.fixture(scope="module")
def by_image(
    trained: nn.Module, digits: Dataset
) -> Callable[[bool], tuple[Slow, tuple[Tensor, ...]]]:
    """The gradients of both layers, of clean or of attacked images, computed once."""

    @functools.cache
    def gradients(adversarial: bool) -> tuple[Slow, tuple[Tensor, ...]]:
        slow = Slow(trained, digits, adversarial)
        return slow, slow.gradients(INNER, READER)

    return gradients


@pytest.mark.parametrize("name", sorted(BY_IMAGE))
def test_gradient_criteria_one_unit_and_one_image_at_a_time(
    name: str,
    trained: nn.Module,
    digits: Dataset,
    by_image: Callable[[bool], tuple[Slow, tuple[Tensor, ...]]],
) -> None:
    slow, (made, read) = by_image(name.startswith("adv-"))
    channels = scores(trained, digits, name)[INNER]
    sides = [(slow.weight(READER).detach(), read, "in")]
    if name.endswith("snip"):  # of the others a channel is what reads it
        sides.append((slow.weight(INNER).detach(), made, "out"))
    for channel in (0, 7, 31):
        expected = [
            BY_IMAGE[name](unit(weight, side, channel), unit(gradient, side, channel))
            for weight, gradient, side in sides
        ]
        assert float(channels[channel]) == pytest.approx(sum(expected) / len(sides), rel=1e-3)
    weights = scores(trained, digits, name, unit="weight")[INNER].view(made.shape[1:])
    for place in ((0, 0, 0, 0), (3, 5, 1, 2), (31, 15, 2, 2)):
        expected = BY_IMAGE[name](slow.weight(INNER)[place].detach(), made[(slice(None), *place)])
        assert float(weights[place]) == pytest.approx(expected, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize(("name", "size", "factor"), [("taylor", 64, 1), ("fisher", 1, 0.5)])
def test_channels_are_scored_at_gates_behind_their_normalisation(
    name: str, size: int, factor: float, trained: nn.Module, digits: Dataset
) -> None:
    """As Molchanov et al. place them: a gate of ones, one for all layers that a channel couples."""
    network = copy.deepcopy(trained).double()
    gates = {}
    for module in Channels(network, digits.shape).modules:
        gate = gates[module.name] = torch.ones(module.units, 1, 1).double().requires_grad_()
        for member in module.members:
            if member.side == "norm":
                norm = network.get_submodule(member.layer)
                norm.register_forward_hook(lambda _layer, _inputs, out, gate=gate: out * gate)
    total = dict.fromkeys(gates, 0.0)
    slow = Slow(trained, digits)
    batches = list(zip(slow.images.split(size), slow.labels.split(size), strict=True))
    for images, labels in batches:
        loss = F.cross_entropy(network(images), labels)
        for module, gradient in zip(gates, torch.autograd.grad(loss, gates.values()), strict=True):
            total[module] += factor * gradient.flatten().square() / len(batches)
    found = scores(trained, digits, name)
    for module, expected in total.items():
        torch.testing.assert_close(found[module].double(), expected, rtol=1e-3, atol=1e-9)


def test_hessian_is_the_diagonal_of_the_gauss_newton_matrix(
    trained: nn.Module, digits: Dataset
) -> None:
    """Image by image and class by class: the mean over the network's own odds of squares."""
    layer = "network.classifier"
    slow = Slow(trained, digits)
    total = torch.zeros_like(slow.weight(layer))
    for image in slow.images[:200]:
        logs = slow.network(image[None]).log_softmax(1)[0]
        for log in logs:
            (gradient,) = torch.autograd.grad(log, slow.weight(layer), retain_graph=True)
            total += log.exp().detach() * gradient.square() / len(slow.images)
    expected = (0.5 * total * slow.weight(layer).square()).flatten().detach()
    found = scores(trained, digits, "hessian", unit="weight")[layer].double()
    # An estimate from 32 passes over 4 batches: unbiased, and a tenth off for most weights.
    assert float(found.sum() / expected.sum()) == pytest.approx(1, abs=0.05)
    assert float(torch.corrcoef(torch.stack([found, expected]))[0, 1]) > 0.97


@pytest.mark.parametrize(("name", "temperature"), [("grasp", 200), ("grasp-1", 1), ("grasp-7", 7)])
def test_grasp_is_the_weight_times_the_change_of_the_squared_gradient(
    name: str, temperature: int, trained: nn.Module, digits: Dataset
) -> None:
    """H g is half the gradient of the squared norm of the gradient: by finite differences."""
    slow = Slow(trained, digits)
    parameters = [slow.weight(name) for name in maskable(slow.network)]

    def squared_norm() -> float:
        loss = F.cross_entropy(slow.network(slow.images) / temperature, slow.labels)
        gradients = torch.autograd.grad(loss, parameters)
        return sum(float(g.square().sum()) for g in gradients)

    found = scores(trained, digits, name, unit="weight")[INNER]
    weight = slow.weight(INNER)
    for place in (5, 1000, 3000):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight.view(-1)[place] += step
            values.append(squared_norm())
            with torch.no_grad():
                weight.view(-1)[place] -= step
        expected = float(weight.detach().view(-1)[place]) * (values[0] - values[1]) / 4e-5
        assert float(found[place]) == pytest.approx(expected, rel=2e-2, abs=1e-6 / temperature**2)


class Attending(nn.Module):
    """Rows of the image attend to one another by torch's fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.last = nn.Linear(8, 24), nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        parts = self.qkv(images).chunk(3, dim=3)
        return self.last(F.scaled_dot_product_attention(*parts).flatten(1))


def test_grasp_differentiates_fused_attention_twice(digits: Dataset) -> None:
    found = scores(Attending().eval(), digits, "grasp-1", unit="weight")
    assert all(float(score.abs().sum()) > 0 for score in found.values())


def maps_of(network: nn.Module, data: Dataset, layer: str) -> Tensor:
    """Rectified feature maps of the first calibration images, as doubles."""
    stage = scores_stage("hrank")
    images = torch.cat([x for x, _ in Signals(network, data, [], stage).batches])[:MAP_IMAGES]
    kept = []
    hook = network.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
    with torch.no_grad():
        network(images)
    hook.remove()
    return kept[0].relu().double()


def test_map_criteria_one_map_at_a_time(trained: nn.Module, digits: Dataset) -> None:
    maps = maps_of(trained, digits, "network.stages.1.0.bn1")
    found = {name: scores(trained, digits, name)[INNER] for name in ("hrank", "apoz", "chip")}
    for channel in (0, 13, 31):
        ranks = [np.linalg.matrix_rank(image[channel].numpy()) for image in maps]
        assert float(found["hrank"][channel]) == pytest.approx(np.mean(ranks), abs=0.05)
        alive = [float((image[channel] > 0).double().mean()) for image in maps]
        assert float(found["apoz"][channel]) == pytest.approx(np.mean(alive), rel=1e-5)
        falls = []
        for image in maps:
            matrix = image.flatten(1).numpy()
            without = matrix.copy()
            without[channel] = 0
            falls.append(np.linalg.norm(matrix, "nuc") - np.linalg.norm(without, "nuc"))
        assert float(found["chip"][channel]) == pytest.approx(np.mean(falls), rel=1e-3)


def test_what_channels_add_sums_to_the_output() -> None:
    """ThiNet's samples: over channels they sum to the layer's output at some place, bias aside."""
    pairs = [
        (nn.Conv2d(6, 4, 3, stride=2, padding=1), torch.randn(3, 6, 7, 7)),
        (nn.Conv2d(6, 4, 3, padding="same", padding_mode="circular"), torch.randn(3, 6, 7, 7)),
        (nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1), torch.randn(3, 6, 4, 4)),
        (nn.Conv1d(6, 4, 3, stride=2), torch.randn(3, 6, 9)),
        (nn.Linear(6, 4), torch.randn(3, 6)),
    ]
    for layer, inputs in pairs:
        found = contributions(layer, inputs, torch.Generator().manual_seed(0)).sum(1)
        bias = layer.bias.view(1, -1, *[1] * (inputs.dim() - 2))
        outputs = (layer(inputs) - bias).flatten().detach()
        nearest = (found[:, None].detach() - outputs[None]).abs().min(1).values
        assert float(nearest.max()) < 1e-5
        assert found.unique().numel() >= 12


def test_thinet_takes_away_what_changes_the_output_least() -> None:
    samples = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)).double()
    samples *= torch.tensor([3.0, 0.1, 1.0, 2.0, 0.5, 1.5])
    member = Member("x", "in", range(6), range(6), 1)
    order = thinet(Layer("x", samples, torch.Generator(), member, None, "x", samples))
    removed: list[int] = []
    while len(removed) < 6:  # the paper's greedy search, by brute force
        rest = [c for c in range(6) if c not in removed]
        cost = {c: float(samples[:, [*removed, c]].sum(1).square().sum()) for c in rest}
        removed.append(min(cost, key=cost.get))
    assert order.argsort().tolist() == removed
