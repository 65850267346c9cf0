"""Learned scores: what the training of them is for, and what it needs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.scores.learning import Gated, first_scores
from prune_core.pruning.scores.signals import Signals

from conftest import scores_stage
from test_criteria import scores


@pytest.mark.parametrize("unit", ["channel", "weight"])
def test_learned_scores_prune_better_than_they_start(
    unit: str, trained: nn.Module, digits: Dataset
) -> None:
    """The loss that the scores are trained on falls, on the pruned network itself."""
    stage = scores_stage("learned", unit=unit)
    modules = prunable_view(trained, digits.shape, unit).modules
    signals = Signals(trained, digits, modules, stage)
    attacked = Signals(trained, digits, modules, stage).batches
    removed = 1 - 0.5**0.5 if unit == "channel" else 0.5

    def loss(scores: dict[str, Tensor]) -> float:
        gated = Gated(trained, modules, scores, dict.fromkeys(scores, removed))
        with torch.no_grad():
            return sum(float(F.cross_entropy(gated(x), y)) for x, y in attacked)

    start = {module.name: first_scores(trained, module).detach() for module in modules}
    assert loss(signals.learned) < 0.9 * loss(start)


def test_learned_scores_need_the_sparsity(trained: nn.Module, digits: Dataset) -> None:
    with pytest.raises(ValueError, match="needs the sparsity"):
        scores(trained, digits, "learned", sparsity=None)
