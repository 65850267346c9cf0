"""A step of a training: nothing in it waits for the device, and how many operations it takes."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

from prune_core.data.augmentation import flip_and_shift
from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.models.architectures import build
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.specs.compute import Compute
from prune_core.training.averaging import Average, decay_after
from prune_core.training.step import Step

from conftest import THREAT
from rows import names
from test_training import recipe, same


class Small(nn.Module):
    """Two convolutions with their normalisations, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.linear = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        found = self.bn1(self.conv1(images)).relu()
        found = self.bn2(self.conv2(found)).relu() + found
        logits: Tensor = self.linear(found.mean((2, 3)))
        return logits


def pruned(granularity: str) -> nn.Module:
    """A small network, half of its modules' units removed, but for the logits'."""
    return copy.deepcopy(_pruned(granularity))


@functools.cache
def _pruned(granularity: str) -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    view = prunable_view(network, (1, 8, 8), granularity)
    every = {module.name: range(module.units) for module in view.modules}
    halves = {
        module.name: view.select(module, torch.rand(module.units), module.units // 2)
        for module in view.modules
        if module.name not in view.outputs
    }
    view.remove(every | halves)
    return network


def images(count: int) -> Dataset:
    """A data set of so many images, shifted and flipped."""
    drawn = torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    split = Split(drawn.to(torch.uint8), torch.arange(count) % 10)
    return Dataset(split, split, split, 10, (0.5,), (0.5,), flip_and_shift)


class Operations(TorchDispatchMode):
    """Counts operations that compute, and refuses those whose result the host must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not func.is_view and func.namespace == "aten":
            self.counts[str(func)] += 1
        waits = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags)
        if "index" in str(func):  # by positions its shape is known; by a mask it is not
            indices = [one for each in args if isinstance(each, list | tuple) for one in each]
            waits = {one for one in indices if one is not None and one.dtype == torch.bool}
        assert not waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@contextmanager
def without_looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operations]:
    """Refuse every look at a number of a tensor."""

    def refuse(tensor: Tensor, *given: object) -> None:
        raise AssertionError("a tensor is looked at")

    with monkeypatch.context() as patched, Operations() as counted:
        for name in ("tolist", "numpy", "__array__"):
            patched.setattr(Tensor, name, refuse)
        yield counted


@pytest.mark.parametrize("granularity", ["channel", "weight", "2:4"])
@pytest.mark.parametrize("objective", names("objectives"))
def test_a_step_waits_for_nothing(
    objective: str, granularity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"objective": objective, "attack_steps": 1, "averaging": "ema"}
    for compute in (Compute(), Compute(profile="fast")):
        adamw = compute.fused and granularity == "weight"  # else it counts its steps on the host
        training = recipe(**settings, optimizer="adamw" if adamw else "sgd")
        threat, teacher = THREAT if training.adversarial else None, Small().eval()
        step = Step(pruned(granularity), images(8), training, threat, compute, teacher, None)
        step.begin(0, "k")
        for index in range(2):
            step.prepare(0.1, index / 2)
            with without_looks(monkeypatch) as counted:
                step(torch.arange(4))
            assert counted.counts  # it was watched


def test_looks_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    values, mask = torch.rand(4), torch.arange(4) > 1

    def put() -> None:
        values.clone()[mask] = 0

    looks = (
        lambda: float(values[0]), lambda: bool(mask.all()), lambda: values.tolist(),
        lambda: values[mask], put, lambda: mask.nonzero(), lambda: values.numpy(),
    )  # fmt: skip
    for look in looks:
        with pytest.raises(AssertionError), without_looks(monkeypatch):
            look()
    with without_looks(monkeypatch):
        values[torch.arange(2)]


CEILINGS = {"resnet8": 385, "resnet20": 820, "vgg8": 370}
"""Of operations in a step of PGD-3 under ``fast``, of a masked network that is averaged."""


@pytest.mark.parametrize("architecture", CEILINGS)
def test_a_step_takes_few_operations(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(architecture, (1, 8, 8), 10, (0.5,), (0.5,), 0)
    for layer in masks.maskable(network).values():
        masks.attach(layer)
    training = recipe(objective="pgd", attack_steps=3, averaging="ema")
    step = Step(network, images(8), training, THREAT, Compute(profile="fast"), None, None)
    step.begin(0, "k")
    for index in range(2):
        step.prepare(0.1, index / 2)
        with without_looks(monkeypatch) as counted:
            step(torch.arange(2))
    assert sum(counted.counts.values()) <= CEILINGS[architecture]


@pytest.mark.parametrize("warmup", [True, False])
def test_an_average_is_torch_s_own(warmup: bool) -> None:
    """To the bit, in every kind of tensor: weights, BatchNorm's statistics and count, masks."""
    training = recipe(averaging="ema", ema_decay=0.9, ema_warmup=warmup)
    network = pruned("weight")
    ours = Average(network, training)
    steps = iter(range(4))

    def update(averaged: list[Tensor], current: list[Tensor], _: Tensor) -> None:
        get_ema_multi_avg_fn(decay)(averaged, current, _)

    theirs = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    for count in steps:
        decay = decay_after(training, count)
        network(torch.rand(8, 1, 8, 8))
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        ours.before_step()
        ours.after_step(network)
        theirs.update_parameters(network)
        assert same(ours.network(network), theirs.module)
    assert torch.equal(ours.state()["n_averaged"], theirs.n_averaged)


def test_masks_that_are_cast_once_hold_and_follow() -> None:
    network = pruned("weight")
    held, weights = masks.Held(network), [layer.weight for layer in masks.masked(network)]
    for _ in range(2):
        for layer, weight in zip(masks.masked(network), weights, strict=True):
            weight.data.fill_(1)
            held.hold()
            assert torch.equal(weight.bool(), layer.mask)
            layer.mask.logical_not_()
        held.refresh()
