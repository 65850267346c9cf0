"""Networks that cannot work are named before anything is trained; those that can are pruned."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import accuracy
from prune_core.data.datasets import Dataset
from prune_core.models import architectures
from prune_core.models.folding import Twin
from prune_core.pruning.rehearsal import Rehearsal, rehearse
from prune_core.specs.stages import Pruned

import outside
from conftest import pruned_stage

Shape = tuple[int, int, int]


def conv(before: int, width: int, **more: int) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, padding=1, **more)


class Head(nn.Module):
    def __init__(self, width: int, classes: int, *body: nn.Module, form: Callable = lambda x: x):
        super().__init__()
        self.body, self.fc, self.form = nn.Sequential(*body), nn.Linear(width, classes), form

    def forward(self, images: Tensor) -> object:
        return self.form(self.fc(self.body(images).mean((2, 3))))


def plain(shape: Shape, classes: int, form: Callable = lambda x: x) -> nn.Module:
    return Head(8, classes, conv(shape[0], 8), nn.ReLU(), conv(8, 8), nn.ReLU(), form=form)


def normed(shape: Shape, classes: int) -> nn.Module:
    network = plain(shape, classes)
    nn.utils.parametrizations.weight_norm(network.body[2])
    return network


def raising(shape: Shape, classes: int) -> nn.Module:
    raise KeyError("no such thing")


WRONG: dict[str, tuple[Callable[..., nn.Module], str, str]] = {
    "pair": (lambda s, c: plain(s, c, lambda x: (x, x)), "weight", "returns a tuple; it must"),
    "named": (lambda s, c: plain(s, c, lambda x: {"logits": x}), "weight", "returns a dict; it"),
    "few": (lambda s, c: plain(s, c - 2), "weight", r"returns a tensor \[2, 8\] for 2 images"),
    "flat": (lambda s, c: plain(s, c, lambda x: x[0]), "weight", r"returns a tensor \[10\]"),
    "no images": (lambda s, c: plain((5, 8, 8), c), "weight", "cannot take images of"),
    "raising": (raising, "weight", "cannot be built: KeyError: 'no such thing'"),
    "weight norm": (normed, "channel", "body.2: its weight is computed by a parametrization"),
    "weight norm, masks": (normed, "weight", "body.2: its weight is computed by"),
    "transposed": (
        lambda s, c: Head(8, c, conv(s[0], 8), nn.ConvTranspose2d(8, 8, 2, 2), nn.ReLU()),
        "channel", "body.1: a transposed convolution cannot be pruned by channel",
    ),
    "multiplier": (
        lambda s, c: Head(16, c, conv(s[0], 8), conv(8, 16, groups=8), nn.ReLU()),
        "channel", "body.1: a depthwise convolution with 16 outputs for 8 channels",
    ),
    "groups": (
        lambda s, c: Head(8, c, conv(s[0], 8), conv(8, 8, groups=2)),
        "channel", "body.1: a convolution in 2 groups cannot be pruned by channel",
    ),
}  # fmt: skip
RIGHT: dict[str, Callable[..., nn.Module]] = {
    "plain": plain,
    "prelu": lambda s, c: Head(8, c, conv(s[0], 8), nn.PReLU(8), conv(8, 8), nn.PReLU(8)),
    "one prelu": lambda s, c: Head(8, c, conv(s[0], 8), nn.PReLU(), conv(8, 8), nn.PReLU()),
    "instance norm": lambda s, c: Head(
        8, c, conv(s[0], 8), nn.InstanceNorm2d(8, affine=True), nn.ReLU(), conv(8, 8)
    ),
    "bare instance norm": lambda s, c: Head(
        8, c, conv(s[0], 8), nn.InstanceNorm2d(8), nn.ReLU(), conv(8, 8)
    ),
    "one place": lambda s, c: Head(
        8, c, conv(s[0], 8), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8)
    ),
    "depthwise": lambda s, c: Head(
        8, c, conv(s[0], 8), conv(8, 8, groups=8), nn.ReLU(), conv(8, 8)
    ),
}


def asked(granularity: str, sparsity: float = 0.6, **changes: object) -> Pruned:
    return pruned_stage(granularity=granularity, sparsity=sparsity, **changes)


def faults(
    make: Callable[..., nn.Module], granularity: str, data: Dataset, patch: pytest.MonkeyPatch
) -> list[str]:
    patch.setattr(outside, "layer_scaled", make)
    return rehearse("outside:layer_scaled", data, [asked(granularity)]).faults


@pytest.mark.parametrize("what", WRONG)
def test_a_network_that_cannot_work_is_named_with_what_is_wrong(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, granularity, said = WRONG[what]
    (fault,) = faults(make, granularity, digits, monkeypatch)
    assert fault.startswith("architecture 'outside:layer_scaled' ")
    with pytest.raises(ValueError, match=said):
        raise ValueError(fault)


@pytest.mark.parametrize("granularity", ["channel", "weight", "2:4"])
@pytest.mark.parametrize("what", RIGHT)
def test_a_network_that_can_be_pruned_has_no_fault(
    what: str, granularity: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(RIGHT[what], granularity, digits, monkeypatch) == []


class Viewed(nn.Module):
    """A network that flattens by `view`, which images in another order of memory do not allow."""

    def __init__(self, shape: Shape, classes: int):
        super().__init__()
        self.first, self.norm = conv(shape[0], 8), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * shape[1] * shape[2], classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.relu(self.norm(self.first(images)))
        logits: Tensor = self.fc(maps.view(maps.size(0), -1))
        return logits


def test_a_network_that_flattens_by_view_has_a_twin(digits: Dataset) -> None:
    network = Viewed(digits.shape, digits.classes).eval()
    images = digits.test.batch(slice(0, 20))[0].requires_grad_()
    twin = Twin(network)
    torch.testing.assert_close(twin(images), network(images), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(twin(images).sum(), images)
    (expected,) = torch.autograd.grad(network(images).sum(), images)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert accuracy(copy.deepcopy(network), digits.test) >= 0


def test_our_smallest_architecture_is_rehearsed_without_a_fault(digits: Dataset) -> None:
    rehearsal = rehearse("resnet8", digits, map(asked, ("channel", "weight", "2:4")))
    assert rehearsal == Rehearsal([], [])
    assert architectures.build("resnet8", digits.shape, 10, (0.5,), (0.5,), 0) is not None


# By hand: widths 2, 4 and 7 leave 1,193 of 77,754 parameters; 76,928 are weights of layers that
# read a multiple of four channels.
LIMITS = [
    ("channel", 0.996, {}, "fault", "exclude: [{architecture: 'resnet8', granularity: 'channel'"),
    ("channel", 0.995, {}, "fault", "cannot be: at most 98.5% of its params go, with pruning.min_"),
    ("channel", 0.99, {}, "note", "so all allocations give one network"),
    ("channel", 0.98, {}, None, ""),
    ("channel", 0.99, {"min_keep": 0.0}, None, ""),
    ("weight", 0.99, {"min_keep": 0.0}, None, ""),
    ("2:4", 0.4, {"min_keep": 0.0}, "fault", "cannot be: at least 49.5% of its params go; exclude"),
    ("2:4", 0.49, {"min_keep": 0.0}, "note", "at least 49.5% of its params go, so all allocations"),
    ("2:4", 0.5, {"min_keep": 0.0}, None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("granularity", "sparsity", "changes", "kind", "words"), LIMITS)
def test_budgets_are_compared_with_what_a_network_can_lose(
    granularity: str, sparsity: float, changes: dict, kind: str, words: str, digits: Dataset
) -> None:
    found = rehearse("resnet8", digits, [asked(granularity, sparsity, **changes)])
    assert (len(found.faults), len(found.notes)) == (kind == "fault", kind == "note")
    assert words in "".join(found.faults + found.notes)
