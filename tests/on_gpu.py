"""What the tests of a GPU share. They are skipped where there is none."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from test_step import Small
from torch import nn

from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split
from prune_core.pruning.prunable.granularities import prunable_view

GPU = torch.device("cuda")


def there(data: Dataset) -> Dataset:
    """A data set on the GPU."""
    train, test, validation = (
        Split(split.images.to(GPU), split.labels.to(GPU))
        for split in (data.train, data.test, data.validation)
    )
    return replace(data, train=train, test=test, validation=validation)


def pruned(granularity: str) -> nn.Module:
    """A small network on the GPU, half of its modules' units removed, but for the logits'."""
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
    return copy.deepcopy(network).to(GPU)
