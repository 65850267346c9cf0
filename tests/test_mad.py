"""MAD: masks fitted to attacked images, and what the loss changes by what they take."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.pruning.scores.masking import adversarial_saliency


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(4, 4, 2, groups=2, bias=False)
        self.linear = nn.Linear(16, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.conv(images), inplace=True)
        return self.linear(self.grouped(maps).relu().flatten(1))


def fitted_by_hand(network: Tiny, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The parameters behind a mask after 20 steps of Adam, written out."""
    weights = {name: value.detach() for name, value in network.named_parameters()}
    one = math.log(math.e - 1)
    mask = {n: torch.full_like(w, one).requires_grad_() for n, w in weights.items()}
    first, second = ({n: torch.zeros_like(w) for n, w in weights.items()} for _ in "mv")
    for step in range(1, 21):
        held = {n: w * (1 + mask[n].exp()).log() for n, w in weights.items()}
        maps = F.conv2d(images, held["conv.weight"], held["conv.bias"], 2, 1).clamp_min(0)
        maps = F.conv2d(maps, held["grouped.weight"], groups=2).clamp_min(0)
        logits = maps.flatten(1) @ held["linear.weight"].T + held["linear.bias"]
        loss = (logits.logsumexp(1) - logits[range(len(labels)), labels]).mean()
        for n, gradient in zip(mask, torch.autograd.grad(loss, list(mask.values())), strict=True):
            first[n] = 0.9 * first[n] + 0.1 * gradient
            second[n] = 0.999 * second[n] + 0.001 * gradient**2
            size = (second[n] / (1 - 0.999**step)).sqrt() + 1e-8
            moved = mask[n].detach() - 0.1 * first[n] / (1 - 0.9**step) / size
            mask[n] = moved.clamp(math.log(math.exp(1e-4) - 1), one).requires_grad_()
    return {n: w * F.softplus(mask[n].detach()) for n, w in weights.items()}


def by_hand(network: Tiny, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """K-FAC's factors, place by place of one image after another."""
    held = fitted_by_hand(network, images, labels)
    maps = F.conv2d(images, held["conv.weight"], held["conv.bias"], 2, 1).requires_grad_()
    read = maps.relu()
    made = F.conv2d(read, held["grouped.weight"], groups=2).requires_grad_()
    flat = made.relu().flatten(1)
    logits = F.linear(flat, held["linear.weight"], held["linear.bias"])
    loss = F.cross_entropy(logits, labels)
    by_conv, by_grouped, by_linear = torch.autograd.grad(loss, [maps, made, logits])
    ones = torch.ones(len(images), 1, 9)
    inputs = {
        "conv": [torch.cat([F.unfold(images, 3, padding=1, stride=2)[..., :9], ones], 1)] * 4,
        # The first two outputs read the first group's channels, the last two the second's.
        "grouped": [F.unfold(read[:, g : g + 2], 2) for g in (0, 0, 2, 2)],
        "linear": [torch.cat([flat, ones[..., 0]], 1)[..., None]] * 3,
    }
    slopes = {"conv": by_conv, "grouped": by_grouped, "linear": by_linear[..., None]}
    found = {}
    for name, layer in network.named_children():
        damage = {n: p.detach() - held[f"{name}.{n}"] for n, p in layer.named_parameters()}
        rows = damage["weight"].flatten(1)
        if "bias" in damage:
            rows = torch.cat([rows, damage["bias"][:, None]], 1)
        saliency = torch.zeros_like(rows)
        for unit, row in enumerate(rows):
            patches, slope = inputs[name][unit], slopes[name].flatten(2)[:, unit]
            n, places = slope.shape
            second = torch.zeros(len(row), len(row))
            curvature = 0.0
            for image in range(n):
                for place in range(places):
                    one = patches[image, :, place] / places
                    second += torch.outer(one, one) / n
                    curvature += float(slope[image, place] * n * places) ** 2 / (n * places)
            saliency[unit] = 0.5 * curvature * row * (second @ row)
        found[name] = saliency[:, : layer.weight[0].numel()].reshape(layer.weight.shape).detach()
    return found


@pytest.fixture
def network() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def batch(images: int) -> tuple[Tensor, Tensor]:
    return torch.rand(images, 2, 6, 6), torch.arange(images) % 3


def test_saliency_is_that_of_the_factors_written_out(network: Tiny) -> None:
    batches = [batch(5), batch(3)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.requires_grad_(requires_grad=False)
    found = adversarial_saliency(network, ["conv", "grouped", "linear"], batches)
    parts = [by_hand(network, *each) for each in batches]
    for name in found:
        expected = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-8)
        assert float(expected.abs().max()) > 1e-5
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_the_mask_lowers_the_loss_and_what_it_keeps_has_no_saliency(network: Tiny) -> None:
    images, labels = batch(6)
    held = fitted_by_hand(network, images, labels)
    loss = F.cross_entropy(network(images), labels)
    lower = F.cross_entropy(torch.func.functional_call(network, held, (images,)), labels)
    assert float(lower.detach()) < float(loss.detach()) - 0.02
    found = adversarial_saliency(network, ["conv"], [(images, labels)])["conv"]
    assert bool((found == 0).any())
    assert bool((found != 0).any())
