"""Attacks written out slowly: one image at a time, or one pixel."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from prune_core.attacks import carlini_wagner, square
from prune_core.attacks.borrowed import TargetedApgd
from prune_core.attacks.evaluation import attack, right
from prune_core.attacks.pgd import gaps
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.specs.settings import Threat

from conftest import CPU


@pytest.fixture(scope="module")
def correct(trained: nn.Module, digits: datasets.Dataset) -> tuple[Tensor, Tensor]:
    """Images that the trained network classifies correctly, and their labels."""
    images, labels = digits.test.batch(slice(0, 40))
    alive = right(trained, images, labels)
    return images[alive], labels[alive]


def nearest_by_hand(
    network: nn.Module, image: Tensor, label: int, radius: float, steps: int
) -> Tensor:
    """The search of Carlini and Wagner for one image, as their paper and code say it."""
    low, high, weight = 0.0, math.inf, 1e-3
    start = torch.atanh((2 * image - 1) * 0.999999)
    for _ in range(9):
        shift = torch.zeros_like(image, requires_grad=True)
        adam = torch.optim.Adam([shift], lr=10 / steps)
        found, before = False, math.inf
        for step in range(steps):
            moved = (torch.tanh(start + shift) + 1) / 2
            logits = network(moved)[0]
            margin = logits[label] - max(v for i, v in enumerate(logits) if i != label)
            loss = (moved - image).square().sum() + weight * margin.clamp(min=0)
            if int(logits.argmax()) != label:
                found = True
                if (moved - image).norm().item() <= radius:
                    return moved.detach()
            if step % (steps // 10) == 0:
                if loss.item() > 0.9999 * before:
                    break
                before = loss.item()
            adam.zero_grad()
            loss.backward()
            adam.step()
        if found:
            high = weight
        else:
            low = weight
        weight = 10 * weight if math.isinf(high) else (low + high) / 2
    return image


def test_the_search_of_carlini_and_wagner_finds_what_it_finds_by_hand(
    trained: nn.Module, correct: tuple[Tensor, Tensor]
) -> None:
    """At a radius at which some of the images need the binary search and some are never broken."""
    network = copy.deepcopy(trained).double()
    images, labels = correct[0][:5].double(), correct[1][:5]
    found = carlini_wagner.search(network, images, labels, 0.95, 20)
    by_hand = torch.cat([
        nearest_by_hand(network, image.unsqueeze(0), int(label), 0.95, 20)
        for image, label in zip(images, labels, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(found, by_hand, atol=1e-6, rtol=0)
    broken = ~right(network, found, labels)
    assert 0 < int(broken.sum()) < len(images)
    assert torch.equal(found[~broken], images[~broken])


def test_carlini_and_wagner_under_l2_are_as_strong_as_pgd(
    trained: nn.Module, correct: tuple[Tensor, Tensor]
) -> None:
    images, labels = (each[:12] for each in correct)
    threat = Threat(norm="l2", eps=0.8)
    left = {}
    for name in ("pgd-20", "cw-30"):
        with seeded(0, CPU):
            found = attack(trained, trained, images, labels, name, threat)
        left[name] = int(right(trained, found, labels).sum())
    assert 0 < left["cw-30"] <= left["pgd-20"] < len(images)


def test_targeted_apgd_steps_every_image_by_its_own_step(
    trained: nn.Module, correct: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image moves as it does alone, where torchattacks' own attack is right under l2 too."""
    network = copy.deepcopy(trained).double()
    images, labels = correct[0][:4].double(), correct[1][:4]
    monkeypatch.setattr(torch, "randn", lambda shape: torch.ones(shape, dtype=torch.double))
    together = TargetedApgd(network, "L2", 0.6, 25, n_restarts=2, loss="dlr")(images, labels)
    alone = [
        torchattacks.APGDT(network, "L2", 0.6, 25, n_classes=3)(*one)
        for one in zip(images.split(1), labels.split(1), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)
    assert 0 < int(right(network, together, labels).sum()) < len(images)


def test_a_bump_is_of_square_terraces() -> None:
    """By the loop of the authors' code."""
    for height, width in ((3, 7), (4, 7), (0, 1), (1, 2)):
        bump = torch.zeros(height, width)
        for step in range(max(height // 2 + 1, width // 2 + 1)):
            rows = slice(max(height // 2 - step, 0), height // 2 + step + 1)
            columns = slice(max(width // 2 - step, 0), width // 2 + step + 1)
            bump[rows, columns] += 1 / (step + 1) ** 2
        torch.testing.assert_close(square._bump(height, width), bump / bump.norm())


@pytest.mark.parametrize("colours", [1, 3])
def test_square_under_l2_keeps_each_colour_s_share(colours: int) -> None:
    """What the two windows held of a colour is in the first; the rest of the image stays."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((4, colours, 12, 12), 0.5)
    change = torch.randn(images.shape, generator=generator)
    change *= 0.5 / square.NORMS["l2"].length(change).view(-1, 1, 1, 1)
    with seeded(3, CPU):
        moved = square._move(images, images + change, 5, 0.5) - images
    before, after = (x.square().sum((2, 3)) for x in (change, moved))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    same = (moved - change).abs().amax((0, 1)) < 1e-6
    assert int((~same).sum()) in range(25, 51)


def test_windows_shrink_over_the_queries_or_over_10000() -> None:
    sides = {True: [], False: []}
    images, labels = torch.full((1, 1, 32, 32), 0.5), torch.zeros(1, dtype=torch.long)

    def stubborn(images: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(images), -1)

    for stretched, seen in sides.items():
        with pytest.MonkeyPatch.context() as patch:

            def note(images: Tensor, side: int, seen=seen) -> tuple[int, int]:
                seen.append(side)
                return 0, 0

            patch.setattr(square, "_corner", note)
            threat = Threat(eps=0.1)
            square.search(stubborn, images, labels, threat, 100, stretched=stretched)
    halved = [round(math.sqrt(0.8 * 1024 / 2**times)) for times in range(10)]
    assert sides[False] == [halved[0]] * 11 + [halved[1]] * 40 + [halved[2]] * 49
    assert sides[True][0], sides[True][1] == (halved[0], halved[2])
    assert sides[True][-1] == halved[9]


def one_window_at_a_time(
    network: nn.Module, images: Tensor, labels: Tensor, eps: float, queries: int
) -> Tensor:
    """Square under linf as its authors have it: all images try a window, then the next is drawn."""

    def signs(*shape: int) -> Tensor:
        return torch.sign(2 * torch.rand(shape) - 1)

    height, width = images.shape[2:]
    best = (images + eps * signs(len(images), images.shape[1], 1, width)).clamp(0, 1)
    margins = -gaps(network(best), labels)
    for query in range(queries):
        left = (margins > 0).nonzero().flatten()
        if not len(left):
            break
        halvings = sum(int(query / queries * 10000) > after for after in square.HALVINGS)
        side = min(max(round(math.sqrt(0.8 / 2**halvings * height * width)), 1), height, width)
        top, start = (int((length - side) * torch.rand(1)) for length in (height, width))
        change = torch.zeros_like(images[0])
        change[:, top : top + side, start : start + side] = 2 * eps * signs(images.shape[1], 1, 1)
        tried = (best[left] + change).clamp(images[left] - eps, images[left] + eps).clamp(0, 1)
        found = -gaps(network(tried), labels[left])
        better = found < margins[left]
        best[left[better]], margins[left[better]] = tried[better], found[better]
    return best


@torch.no_grad()
@pytest.mark.parametrize(("count", "eps"), [(1, 0.05), (7, 0.05), (7, 0.4), (40, 0.1), (80, 0.1)])
def test_windows_that_are_tried_together_are_those_one_after_the_other(
    count: int, eps: float, trained: nn.Module, digits: datasets.Dataset
) -> None:
    """The same images, and as many random numbers are drawn."""
    images, labels = digits.test.batch(slice(0, 128))
    images, labels = (each[right(trained, images, labels)][:count] for each in (images, labels))
    found = []
    for way in (square.search, one_window_at_a_time):
        with seeded(0, CPU):
            threat = Threat(eps=eps) if way is square.search else eps
            found.append((way(trained, images, labels, threat, 60), torch.get_rng_state()))
    (ours, state), (slow, after) = found
    torch.testing.assert_close(ours, slow)
    assert torch.equal(state, after)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_attacks_images_of_any_sides(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for sides in ((4, 4), (19, 19), (6, 40), (40, 6)):
        images = torch.rand(3, 3, *sides, generator=generator)
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        labels = network(images).argmax(1)
        threat = Threat(norm=norm, eps=0.05)
        with seeded(0, CPU):
            found = attack(network, network, images, labels, "square-40", threat)
        assert found.shape == images.shape
