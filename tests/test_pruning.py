"""Pruning real networks: budgets met, the lowest scores gone, structures that come back."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.counting import count_macs, count_params, origin_of
from prune_core.pruning.prunable.granularities import prunable_view, unit_of
from prune_core.pruning.prunable.groups import Shape
from prune_core.pruning.prune import compose, prune, rebuild
from prune_core.pruning.ratios.sensitivities import Measured
from prune_core.pruning.scores import learning
from prune_core.pruning.scores.scoring import score
from prune_core.specs.registry import ALLOCATIONS, CRITERIA, SENSITIVITIES
from prune_core.specs.settings import Estimation
from prune_core.specs.stages import Sensitivity

from conftest import THREAT, blank, dense_stage, pruned_stage, scored, scores_stage
from rows import names

Scored = Callable[[str, str], dict[str, Tensor]]


CELLS = [
    (criterion, granularity)
    for criterion in names("criteria")
    for granularity in names("granularities")
    if granularity == "channel" or "channels" not in CRITERIA[criterion].traits
]


OTHERS = [name for name in names("allocations") if name != "global"]
"""Allocations to which one criterion is as another. Scores choose within modules, and how many are
left there does not hang on which; global looks at them as they are, so it meets every criterion."""


@pytest.fixture(scope="module")
def scores(trained: nn.Module, digits: Dataset) -> Iterator[Scored]:
    """The scores of a criterion and unit, computed once; learned in few passes."""

    @functools.cache
    def of_unit(criterion: str, unit: str) -> dict[str, Tensor]:
        return scored(trained, digits, scores_stage(criterion, unit=unit))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "EPOCHS", 2)
        yield of_unit


def sensitivity_stage(allocation: str, granularity: str) -> Sensitivity | None:
    """What an allocation reads, at three shares."""
    needs = [need for need in ALLOCATIONS[allocation].needs if need.startswith("sensitivity:")]
    if not needs:
        return None
    estimator = needs[0].removeprefix("sensitivity:")
    removes = bool(SENSITIVITIES[estimator].needs)
    return Sensitivity(
        network=dense_stage(),
        estimator=estimator,
        scores=scores_stage() if removes else None,
        granularity=granularity if removes else None,
        estimation=Estimation(shares=(0.25, 0.5, 0.75)),
        threat=THREAT,
    )


def measured(network: nn.Module, shape: Shape, stage: Sensitivity | None) -> dict[str, Measured]:
    """Made-up sensitivities of what a stage measures: layers, or the modules of a granularity."""
    if stage is None:
        return {}
    if stage.granularity is None:
        parts = list(masks.maskable(network))
    else:
        parts = [m.name for m in prunable_view(network, shape, stage.granularity).modules]
    values = itertools.cycle((0.1, 0.5, 0.3, 0.9, 2.0, 0.2))
    return {
        part: Measured(value, tuple(4 * share**2 * value for share in stage.estimation.shares))
        for part, value in zip(parts, values, strict=False)
    }


@pytest.mark.parametrize(
    ("criterion", "granularity", "allocation"),
    [
        *((*cell, "global") for cell in CELLS),
        *(("l1", *cell) for cell in itertools.product(names("granularities"), OTHERS)),
    ],
)
@pytest.mark.parametrize("budget", ["params", "macs"])
def test_the_budget_is_met_on_the_real_network(
    criterion: str,
    granularity: str,
    allocation: str,
    budget: str,
    trained: nn.Module,
    digits: Dataset,
    scores: Scored,
) -> None:
    """Within one point, or to a weight."""
    unit = unit_of(granularity)
    sparsity = 0.6 if granularity == "2:4" else 0.8
    network = copy.deepcopy(trained)
    origin = origin_of(network, digits.shape, granularity)
    stage = pruned_stage(
        criterion,
        allocation=allocation,
        granularity=granularity,
        sparsity=sparsity,
        budget=budget,
        mrs_exponent=0.5,
        min_keep=0.02,
        ranking=scores_stage("lamp", unit=unit),
        sensitivity=sensitivity_stage(allocation, granularity),
        ratios={name: 0.2 + 0.1 * i for i, name in enumerate(origin.units)} if unit == "channel"
        else {name: 0.1 + 0.08 * i for i, name in enumerate(origin.units)},
    )  # fmt: skip
    ranking = scores("lamp", unit) if allocation == "lamp" else None
    found = measured(network, digits.shape, stage.sensitivity)
    _, report = prune(network, digits.shape, stage, scores(criterion, unit), ranking, found)
    after = (count_params(network), count_macs(network, digits.shape))
    asked = 1 if budget == "macs" else 0
    achieved = 1 - after[asked] / (origin.params, origin.macs)[asked]
    assert report.shortfall is None
    assert achieved == pytest.approx(sparsity, abs=0.01)
    if unit == "weight" and budget == "params":
        assert abs(after[0] - (1 - sparsity) * origin.params) <= 1
    assert (report.params, report.macs) == after
    assert (report.params_removed, report.macs_removed)[asked] == achieved
    for module in report.modules:
        assert 1 <= module.width_after <= module.width_before
        assert module.width_after >= 0.02 * module.width_before
    assert network(digits.test.batch(slice(0, 2))[0]).shape == (2, 10)


def test_the_lowest_scores_go(trained: nn.Module, digits: Dataset) -> None:
    network = copy.deepcopy(trained)
    stage = pruned_stage()
    modules = Channels(network, digits.shape).modules
    module = next(m for m in modules if len(m.makers()) == 1)
    found = score(network, digits, modules, stage.scores)
    structure, _ = prune(network, digits.shape, stage, found)
    kept = structure[module.name]
    gone = sorted(set(range(module.units)) - set(kept))
    assert found[module.name][kept].min() >= found[module.name][gone].max()


@pytest.mark.parametrize("granularity", names("granularities"))
def test_a_structure_comes_back(granularity: str, trained: nn.Module, digits: Dataset) -> None:
    """A blank network cut to the structure takes the pruned weights, masks too."""
    network = copy.deepcopy(trained)
    modules = prunable_view(network, digits.shape, granularity).modules
    draw = torch.Generator().manual_seed(0)
    scores = {m.name: torch.rand(m.units, generator=draw) for m in modules}
    stage = pruned_stage(granularity=granularity, sparsity=0.6)
    structure, _ = prune(network, digits.shape, stage, scores)
    fresh = blank(digits, seed=9)
    rebuild(fresh, digits.shape, granularity, structure)
    fresh.load_state_dict(network.state_dict())
    images = digits.test.batch(slice(0, 9))[0]
    assert torch.equal(fresh(images), network(images))
    assert count_params(fresh) == count_params(network)


def test_pruning_twice_is_a_share_of_the_dense_network(trained: nn.Module, digits: Dataset) -> None:
    network = copy.deepcopy(trained)
    origin = origin_of(network, digits.shape, "channel")
    structures = []
    for sparsity in (0.3, 0.6):
        modules = Channels(network, digits.shape).modules
        scores = score(network, digits, modules, scores_stage("l1"))
        stage = pruned_stage(sparsity=sparsity, min_keep=0.25)
        structure, report = prune(network, digits.shape, stage, scores, origin=origin)
        structures.append(structure)
        assert report.params_removed == pytest.approx(sparsity, abs=0.01)
    for module in report.modules:
        assert module.width_before == origin.units[module.module]
        assert module.width_after >= 0.25 * module.width_before
    fresh = blank(digits)
    rebuild(fresh, digits.shape, "channel", compose(*structures))
    fresh.load_state_dict(network.state_dict())
    images = digits.test.batch(slice(0, 9))[0]
    assert torch.equal(fresh(images), network(images))
