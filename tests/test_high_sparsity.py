"""High sparsities by single weights: met to the weight, and not the same network by every name."""

from __future__ import annotations

import copy

import pytest
from test_pruning import measured
from torch import nn

from orchestrator.planning.plan import make_plan
from orchestrator.sweepfile.model import parse_sweep
from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.counting import count_params
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prune import prune
from prune_core.pruning.scores.scoring import score
from prune_core.specs.stages import Trial

from conftest import scores_stage, sweep_text

ALLOCATIONS = ("uniform", "erk", "global", "lamp", "mrs")


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.99])
def test_masks_meet_the_count_to_the_weight_and_differ_by_allocation(
    sparsity: float, trained: nn.Module, digits: Dataset
) -> None:
    text = sweep_text(
        criteria="[l1]",
        allocations=f"[{', '.join(ALLOCATIONS)}]",
        granularities="[weight]",
        sparsities=f"[{sparsity}]",
        finetuning="{none: {epochs: 0}}",
        seeds="1",
    )
    modules = prunable_view(trained, digits.shape, "weight").modules
    l1, lamp = (score(trained, digits, modules, scores_stage(n, unit="weight"))
                for n in ("l1", "lamp"))  # fmt: skip
    widths = set()
    for job in make_plan(parse_sweep(text)).trials.values():
        assert isinstance(job.stage, Trial)
        network = copy.deepcopy(trained)
        stage = job.stage.pruned
        found = measured(network, digits.shape, stage.sensitivity)
        _, report = prune(network, digits.shape, stage, l1, lamp if stage.ranking else None, found)
        assert report.shortfall is None
        assert count_params(network) == round((1 - sparsity) * count_params(trained))
        assert min(module.width_after for module in report.modules) >= 1
        widths.add(tuple(masks.weights_left(layer) for layer in masks.masked(network)))
    assert len(widths) == len(ALLOCATIONS)
