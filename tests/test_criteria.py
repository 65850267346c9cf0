"""Criteria, each against an independent slow computation."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.pruning import learning
from prune_core.pruning.channels import Channels
from prune_core.pruning.criteria import lamp, thinet
from prune_core.pruning.granularities import prunable_view
from prune_core.pruning.groups import Member
from prune_core.pruning.layer import Layer
from prune_core.pruning.learning import Gated, first_scores
from prune_core.pruning.masks import maskable
from prune_core.pruning.scoring import score
from prune_core.pruning.signals import MAP_IMAGES, Signals, contributions
from prune_core.specs.registry import CRITERIA

from conftest import THREAT, blank, scores_stage
from rows import names


def scores(
    network: nn.Module, data: Dataset, criterion: str, **changes: object
) -> dict[str, Tensor]:
    stage = scores_stage(criterion, **changes)
    return score(network, data, prunable_view(network, data.shape, stage.unit).modules, stage)


def units_of(name: str) -> tuple[str, ...]:
    return ("channel",) if "channels" in CRITERIA[name].traits else ("channel", "weight")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are learned in few passes: whether they are good is asked elsewhere."""
    monkeypatch.setattr(learning, "EPOCHS", 2)


BOTH = [(name, unit) for name in names("criteria") for unit in units_of(name)]


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
        assert (found >= 0).all() or name in ("grasp", "learned")  # which have a sign
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
    blind = replace(digits, test=nothing, validation=nothing)
    for name in ("taylor", "apoz", "learned", "thinet"):
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


# Independent slow answers, on the trained network: one unit, one image at a time.


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


BY_IMAGE = {
    # (weight, gradient by image) -> score, one unit.
    "taylor": lambda w, g: float((w * g.mean(0)).sum() ** 2),
    "adv-taylor": lambda w, g: float((w * g.mean(0)).sum() ** 2),
    "snip": lambda w, g: float((w * g.mean(0)).abs().sum()),
    "adv-snip": lambda w, g: float((w * g.mean(0)).abs().sum()),
    "fisher": lambda w, g: float(sum((w * one).detach().sum() ** 2 for one in g)) / (2 * len(g)),
    "adv-fisher": lambda w, g: (
        float(sum((w * one).detach().sum() ** 2 for one in g)) / (2 * len(g))
    ),
}
INNER = "network.stages.1.0.conv1"  # a module of one maker and one reader
READER = "network.stages.1.0.conv2"


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
    for channel in (0, 7, 31):
        expected = [
            BY_IMAGE[name](
                unit(slow.weight(INNER).detach(), "out", channel), unit(made, "out", channel)
            ),
            BY_IMAGE[name](
                unit(slow.weight(READER).detach(), "in", channel), unit(read, "in", channel)
            ),
        ]
        assert float(channels[channel]) == pytest.approx(sum(expected) / 2, rel=1e-3)
    weights = scores(trained, digits, name, unit="weight")[INNER].view(made.shape[1:])
    for place in ((0, 0, 0, 0), (3, 5, 1, 2), (31, 15, 2, 2)):
        expected = BY_IMAGE[name](slow.weight(INNER)[place].detach(), made[(slice(None), *place)])
        assert float(weights[place]) == pytest.approx(expected, rel=1e-3, abs=1e-12)


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
    rows = made.flatten(1).tolist(), read.transpose(0, 1).flatten(1).tolist()
    channels = scores(trained, digits, name)[INNER]
    for channel in (0, 9, 31):
        expected = sum(BY_WEIGHT[name](side, channel) for side in rows) / 2
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
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 10)).eval()
    for name in ("bn-scale", "l2"):
        found = scores(plain, digits, name)["0"]
        weight = plain[0].weight.detach(), plain[2].weight.detach()
        made = weight[0].flatten(1).norm(dim=1)
        read = weight[1].view(10, 4, 36).square().sum((0,)).sqrt().sum(1) / 36
        expected = (made + read) / 2
        torch.testing.assert_close(found, expected)


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


def test_grasp_is_the_weight_times_the_change_of_the_squared_gradient(
    trained: nn.Module, digits: Dataset
) -> None:
    """H g is half the gradient of the squared norm of the gradient: by finite differences."""
    slow = Slow(trained, digits)
    parameters = [slow.weight(name) for name in maskable(slow.network)]

    def squared_norm() -> float:
        gradients = torch.autograd.grad(slow.loss(), parameters)
        return sum(float(g.square().sum()) for g in gradients)

    found = scores(trained, digits, "grasp", unit="weight")[INNER]
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
        assert float(found[place]) == pytest.approx(expected, rel=2e-2, abs=1e-6)


def test_synflow_counts_paths(digits: Dataset) -> None:
    """On a chain of linear layers a channel's score is the sum of all absolute paths through it."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 10)).eval()
    found = scores(network, digits, "synflow")["1"]
    into = network[1].weight.detach().abs().sum(1)
    out = network[3].weight.detach().abs().sum(0)
    torch.testing.assert_close(found, into * out)


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
    layers = (nn.Conv2d(6, 4, 3, stride=2, padding=1), nn.Linear(6, 4))
    for layer, inputs in zip(layers, (torch.randn(3, 6, 7, 7), torch.randn(3, 6)), strict=True):
        found = contributions(layer, inputs, torch.Generator().manual_seed(0)).sum(1)
        bias = layer.bias.view(1, -1, *[1] * (inputs.dim() - 2))
        outputs = (layer(inputs) - bias).flatten().detach()
        nearest = (found[:, None].detach() - outputs[None]).abs().min(1).values
        assert float(nearest.max()) < 1e-5


def test_thinet_takes_away_what_changes_the_output_least() -> None:
    samples = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)).double()
    samples *= torch.tensor([3.0, 0.1, 1.0, 2.0, 0.5, 1.5])
    member = Member("x", "in", range(6), range(6))
    order = thinet(Layer("x", samples, torch.Generator(), member, None, "x", samples))
    removed: list[int] = []
    while len(removed) < 6:  # the paper's greedy search, by brute force
        rest = [c for c in range(6) if c not in removed]
        cost = {c: float(samples[:, [*removed, c]].sum(1).square().sum()) for c in rest}
        removed.append(min(cost, key=cost.get))
    assert order.argsort().tolist() == removed


@pytest.mark.parametrize("unit", ["channel", "weight"])
def test_learned_scores_prune_better_than_they_start(
    unit: str, trained: nn.Module, digits: Dataset
) -> None:
    """The loss that the scores are trained on falls, on the pruned network itself."""
    stage = scores_stage("learned", unit=unit)
    modules = prunable_view(trained, digits.shape, unit).modules
    signals = Signals(trained, digits, modules, stage)
    attacked = Signals(trained, digits, modules, stage).batches
    share = 0.5**0.5 if unit == "channel" else 0.5

    def loss(scores: dict[str, Tensor]) -> float:
        gated = Gated(trained, modules, scores, share)
        with torch.no_grad():
            return sum(float(F.cross_entropy(gated(x), y)) for x, y in attacked)

    start = {module.name: first_scores(trained, module).detach() for module in modules}
    assert loss(signals.learned) < 0.9 * loss(start)


def test_learned_scores_need_the_sparsity(trained: nn.Module, digits: Dataset) -> None:
    with pytest.raises(ValueError, match="needs the sparsity"):
        scores(trained, digits, "learned", sparsity=None)


def test_lamp_gives_ties_their_order_and_zeros_a_score() -> None:
    member = Member("x", "out", range(4), range(4))
    layer = Layer("x", torch.zeros(4, 2), torch.Generator(), member, None, "x")
    assert lamp(layer).isfinite().all()


def test_l1_is_torch_pruning_s_group_magnitude(trained: nn.Module, digits: Dataset) -> None:
    importance = tp.importance.GroupMagnitudeImportance(
        p=1, normalizer=None, target_types=[nn.Conv2d, nn.Linear]
    )
    found = scores(trained, digits, "l1")
    for module in Channels(trained, digits.shape).modules:
        graph = tp.DependencyGraph().build_dependency(trained, torch.zeros(2, *digits.shape))
        root = trained.get_submodule(module.name)
        every = list(range(module.units))
        group = graph.get_pruning_group(root, tp.prune_conv_out_channels, idxs=every)
        torch.testing.assert_close(found[module.name], importance(group))


def test_a_criterion_from_outside(trained: nn.Module, digits: Dataset) -> None:
    for name in ("outside:smallest_first", "outside:signed"):
        assert all(s.isfinite().all() for s in scores(trained, digits, name).values())


def test_a_criterion_that_misbehaves_is_named(trained: nn.Module, digits: Dataset) -> None:
    with pytest.raises(ValueError, match=r"'outside:wrong_shape' on network.conv: scores must be"):
        scores(trained, digits, "outside:wrong_shape")
