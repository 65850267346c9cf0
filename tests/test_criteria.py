"""Criteria, each against an independent slow computation."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.models.third_party import torch_pruning as tp
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import Member
from prune_core.pruning.scores import criteria, learning
from prune_core.pruning.scores.criteria import lamp
from prune_core.pruning.scores.layer import Layer
from prune_core.pruning.scores.signals import Signals
from prune_core.specs.registry import CRITERIA

from conftest import THREAT, blank, scored, scores_stage
from rows import names


def scores(
    network: nn.Module, data: Dataset, criterion: str, **changes: object
) -> dict[str, Tensor]:
    return scored(network, data, scores_stage(criterion, **changes))


def units_of(name: str) -> tuple[str, ...]:
    return ("channel",) if "channels" in CRITERIA[name].traits else ("channel", "weight")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few passes, few rounds: whether the scores are good is asked elsewhere."""
    monkeypatch.setattr(learning, "EPOCHS", 2)
    monkeypatch.setattr(criteria, "ROUNDS", 3)


BOTH = [(name, unit) for name in names("criteria") for unit in units_of(name)]


SIGNED = ("grasp", "grasp-1", "mad", "learned")
"""Criteria whose scores may be below 0."""


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("name", "unit"), BOTH)
def test_invariants(name: str, unit: str, trained: nn.Module, digits: Dataset) -> None:
    before = copy.deepcopy(trained.state_dict())
    first = scores(trained, digits, name, unit=unit)
    torch.manual_seed(99)  # nothing may depend on the global seed
    again = scores(trained, digits, name, unit=unit)
    for module in prunable_view(trained, digits.shape, unit).modules:
        found = first[module.name]
        assert found.shape == (module.units,)
        assert found.isfinite().all()
        assert (found >= 0).all() or name in SIGNED
        assert torch.equal(found, again[module.name])
        assert len(found.unique()) > 1 or name == "hrank"
    assert all(torch.equal(before[k], v) for k, v in trained.state_dict().items())
    assert all(p.grad is None for p in trained.parameters())
    assert not trained.training
    assert not any("forward" in m.__dict__ for m in trained.modules())
    assert not any(m._forward_hooks for m in trained.modules())


@pytest.mark.usefixtures("quick")
def test_data_driven_criteria_read_training_images_alone(
    trained: nn.Module, digits: Dataset
) -> None:
    nothing = Split(torch.empty(0, 1, 8, 8, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    black = Split(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    blind = replace(digits, test=nothing, validation=black)  # a training measures on the latter
    for name in ("taylor", "apoz", "hydra", "learned", "thinet"):
        seen, unseen = (scores(trained, data, name) for data in (digits, blind))
        assert all(torch.equal(seen[module], unseen[module]) for module in seen)


def test_all_criteria_of_a_network_look_at_the_same_images(
    trained: nn.Module, digits: Dataset
) -> None:
    first, second = (
        Signals(trained, digits, [], scores_stage(name)).batches for name in ("taylor", "snip")
    )
    for (x, y), (other_x, other_y) in zip(first, second, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    attacked = Signals(trained, digits, [], scores_stage("adv-taylor")).batches
    for (x, y), (adversarial, labels) in zip(first, attacked, strict=True):
        assert torch.equal(y, labels)
        assert 0 < float((x - adversarial).abs().max()) <= THREAT.eps + 1e-6


INNER = "network.stages.1.0.conv1"  # a module of one maker and one reader
READER = "network.stages.1.0.conv2"


BY_WEIGHT = {
    "l1": lambda rows, i: sum(abs(x) for x in rows[i]),
    "l2": lambda rows, i: math.sqrt(sum(x * x for x in rows[i])),
    "fpgm": lambda rows, i: sum(math.dist(rows[i], other) for other in rows),
    "lamp": lambda rows, i: (
        sum(x * x for x in rows[i])
        / sum(s for s in (sum(x * x for x in r) for r in rows) if s >= sum(x * x for x in rows[i]))
    ),
}


@pytest.mark.parametrize("name", sorted(BY_WEIGHT))
def test_weight_criteria_in_plain_python(name: str, trained: nn.Module, digits: Dataset) -> None:
    made = trained.get_parameter(f"{INNER}.weight").detach().double()
    read = trained.get_parameter(f"{READER}.weight").detach().double()
    rows = [made.flatten(1).tolist()]
    if name == "lamp":  # the others look at filters alone
        rows.append(read.transpose(0, 1).flatten(1).tolist())
    channels = scores(trained, digits, name)[INNER]
    for channel in (0, 9, 31):
        expected = sum(BY_WEIGHT[name](side, channel) for side in rows) / len(rows)
        assert float(channels[channel]) == pytest.approx(expected, rel=1e-4)
    stem = trained.get_parameter("network.conv.weight").detach().double()
    weights = scores(trained, digits, name, unit="weight")["network.conv"]
    lines = stem.reshape(-1, 1).tolist()
    for place in (0, 50, 143):
        assert float(weights[place]) == pytest.approx(BY_WEIGHT[name](lines, place), rel=1e-4)


def test_group_norm_is_the_sum_over_all_coupled_layers(trained: nn.Module, digits: Dataset) -> None:
    found = scores(trained, digits, "group-norm")
    for module in Channels(trained, digits.shape).modules:
        for channel in (0, module.units - 1):
            total = 0.0
            for member in module.members:
                if member.side != "norm":
                    weight = trained.get_parameter(f"{member.layer}.weight").detach()
                    rows = weight if member.side == "out" else weight.transpose(0, 1)
                    total += float(rows[channel].square().sum())
            assert float(found[module.name][channel]) == pytest.approx(total, rel=1e-4)


def test_bn_scale_is_the_normalisation_s_and_l2_where_there_is_none(digits: Dataset) -> None:
    network = blank(digits)
    scale = torch.linspace(-1, 1, 32)
    with torch.no_grad():
        network.get_submodule("network.stages.1.0.bn1").weight.copy_(scale)
    torch.testing.assert_close(scores(network, digits, "bn-scale")[INNER], scale.abs())
    plain = flattening()
    for name in ("bn-scale", "l2"):
        found = scores(plain, digits, name)["0"]
        torch.testing.assert_close(found, plain[0].weight.detach().flatten(1).norm(dim=1))


def flattening() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)).eval()


def test_all_that_a_channel_takes_with_it_is_one_row(digits: Dataset) -> None:
    """All inputs that a flattened map becomes; all rows of a head's queries, keys and values."""
    plain = flattening()
    weight = plain[2].weight.detach()
    found = scores(plain, digits, "group-norm")["0"] - plain[0].weight.detach().square().sum(
        (1, 2, 3)
    )
    torch.testing.assert_close(found, weight.view(10, 4, 36).square().sum((0, 2)))
    heads = Member("qkv", "out", range(12), (0, 0, 1, 1) * 3)  # two heads of width two
    rows = heads.rows(torch.arange(12.0)[:, None])
    assert rows.tolist() == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def test_makers_that_are_coupled_share_the_score(trained: nn.Module, digits: Dataset) -> None:
    """A residual stream is made by several layers: the mean of their filters' scores."""
    module = next(m for m in Channels(trained, digits.shape).modules if len(m.makers()) > 1)
    norms = [trained.get_parameter(f"{name}.weight").abs().sum((1, 2, 3))
             for name in module.makers()]  # fmt: skip
    found = scores(trained, digits, "l1")[module.name]
    torch.testing.assert_close(found, torch.stack(norms).mean(0).detach())


def test_lamp_gives_ties_their_order_and_zeros_a_score() -> None:
    member = Member("x", "out", range(4), range(4))
    layer = Layer("x", torch.zeros(4, 2), torch.Generator(), member, None, "x")
    assert lamp(layer).isfinite().all()


@pytest.mark.parametrize(
    ("name", "importance"),
    [
        ("group-l1", tp.importance.MagnitudeImportance(p=1, normalizer=None)),
        ("group-l2", tp.importance.MagnitudeImportance(p=2, normalizer=None)),
        ("group-fpgm", tp.importance.FPGMImportance(normalizer=None)),
    ],
)
def test_group_scores_are_torch_pruning_s(
    name: str, importance: tp.importance.Importance, trained: nn.Module, digits: Dataset
) -> None:
    for network in (trained, flattening())[: 1 if name == "group-fpgm" else 2]:
        found = scores(network, digits, name)
        graph = tp.DependencyGraph().build_dependency(network, torch.zeros(2, *digits.shape))
        for module in Channels(network, digits.shape).modules:
            root, every = network.get_submodule(module.name), list(range(module.units))
            group = graph.get_pruning_group(root, tp.prune_conv_out_channels, idxs=every)
            torch.testing.assert_close(found[module.name], importance(group))


def test_a_criterion_from_outside(trained: nn.Module, digits: Dataset) -> None:
    for name in ("outside:smallest_first", "outside:signed"):
        assert all(s.isfinite().all() for s in scores(trained, digits, name).values())


def test_a_criterion_that_misbehaves_is_named(trained: nn.Module, digits: Dataset) -> None:
    with pytest.raises(ValueError, match=r"'outside:wrong_shape' on network.conv: scores must be"):
        scores(trained, digits, "outside:wrong_shape")
