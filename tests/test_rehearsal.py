"""Networks that cannot work are named before anything is trained; those that can are pruned."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from prune_core.attacks.evaluation import accuracy
from prune_core.data.datasets import Dataset
from prune_core.models import architectures
from prune_core.models.folding import Twin
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.rehearsal import Rehearsal, rehearse
from prune_core.specs.compute import Compute
from prune_core.specs.stages import Pruned

import outside
from conftest import blank, pruned_stage
from odd_networks import RIGHT, WRONG, Make, conv, cosine

Shape = tuple[int, int, int]


def asked(granularity: str, sparsity: float = 0.6, **changes: object) -> Pruned:
    return pruned_stage(granularity=granularity, sparsity=sparsity, **changes)


def faults(
    make: Make, granularities: list[str], data: Dataset, patch: pytest.MonkeyPatch
) -> list[str]:
    patch.setattr(outside, "layer_scaled", make)
    stages = map(asked, granularities)
    return rehearse("outside:layer_scaled", data.shape, data.classes, stages).faults


@pytest.mark.parametrize("what", WRONG)
def test_a_network_that_cannot_work_is_named_with_what_is_wrong(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, granularity, said = WRONG[what]
    (fault,) = faults(make, [granularity], digits, monkeypatch)
    assert fault.startswith("architecture 'outside:layer_scaled' ")
    with pytest.raises(ValueError, match=said):
        raise ValueError(fault)


@pytest.mark.parametrize("what", RIGHT)
def test_a_network_that_can_be_pruned_has_no_fault(
    what: str, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faults(RIGHT[what], ["channel", "weight"], digits, monkeypatch) == []


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


def test_a_network_that_flattens_by_view_cannot_be_trained_channels_last(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "layer_scaled", Viewed)
    plain = asked("channel")
    dense = plain.dense.model_copy(update={"compute": Compute(channels_last=True)})
    last = plain.model_copy(update={"network": dense})
    found = rehearse("outside:layer_scaled", digits.shape, digits.classes, [plain, last]).faults
    assert len(found) == 1
    assert "cannot be trained with compute.channels_last: true: RuntimeError: view" in found[0]


def test_a_network_that_flattens_by_view_has_a_twin(digits: Dataset) -> None:
    torch.manual_seed(0)
    network = Viewed(digits.shape, digits.classes).eval()
    images = digits.test.batch(slice(0, 20))[0].requires_grad_()
    twin = Twin(network)
    torch.testing.assert_close(twin(images), network(images), rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(twin(images).sum(), images)
    (expected,) = torch.autograd.grad(network(images).sum(), images)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
    assert accuracy(copy.deepcopy(network), digits.test) >= 0


def test_our_smallest_architecture_is_rehearsed_without_a_fault(digits: Dataset) -> None:
    rehearsal = rehearse("resnet8", digits.shape, 10, map(asked, ("channel", "weight", "2:4")))
    assert rehearsal == Rehearsal([], [])
    assert architectures.build("resnet8", digits.shape, 10, (0.5,), (0.5,), 0) is not None


def test_logits_that_cannot_be_spared_are_named_where_an_allocation_spares_them(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("uniform", 0), ("uniform-plus", 1)):
        monkeypatch.setattr(outside, "layer_scaled", cosine)
        stages = [asked("weight", allocation=name)]
        found = rehearse("outside:layer_scaled", digits.shape, 10, stages).faults
        assert len(found) == count
        assert all("an allocation that spares the last layer; exclude" in f for f in found)


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
    found = rehearse("resnet8", digits.shape, 10, [asked(granularity, sparsity, **changes)])
    assert (len(found.faults), len(found.notes)) == (kind == "fault", kind == "note")
    assert words in "".join(found.faults + found.notes)


def test_shares_that_a_file_lacks_are_named_before_anything_runs(digits: Dataset) -> None:
    """It failed at the pruning, after all trainings of dense networks."""
    view = prunable_view(blank(digits), digits.shape, "channel")
    given = {module.name: 0.5 for module in view.modules}
    first = next(iter(given))
    lacking = {name.removeprefix("network."): share for name, share in given.items()}
    stages = [asked("channel", allocation="fixed", ratios=given), asked("channel")]
    assert rehearse("resnet8", digits.shape, 10, stages).faults == []
    stages[0] = asked("channel", allocation="fixed", ratios=lacking)
    (fault,) = rehearse("resnet8", digits.shape, 10, stages).faults
    assert f"must give a share for every module; missing: {first}, " in fault


def test_a_batch_of_one_is_refused_where_batchnorm_cannot_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def net(side: int) -> nn.Module:
        pooled = nn.AdaptiveAvgPool2d(side), nn.BatchNorm2d(8), nn.Flatten()
        return nn.Sequential(nn.Conv2d(3, 8, 3), *pooled, nn.Linear(8 * side**2, 4))

    for side, batch, refused in ((1, 1, True), (1, 2, False), (2, 1, False)):
        monkeypatch.setattr(outside, "layer_scaled", lambda *_, of=side: net(of))
        found = rehearse("outside:layer_scaled", (3, 8, 8), 4, [asked("channel")], batch).faults
        assert [f"{fault} "[:73] for fault in found] == refused * [
            "architecture 'outside:layer_scaled' cannot be trained with batch_size: 1:"
        ]
