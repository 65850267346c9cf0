"""What the tests of a GPU share. They are skipped where there is none."""

from __future__ import annotations

from dataclasses import replace

import test_step
import torch
from torch import nn

from prune_core.data.datasets import Dataset
from prune_core.data.splits import Split

GPU = torch.device("cuda")


def there(data: Dataset) -> Dataset:
    """A data set on the GPU."""
    train, test, validation = (
        Split(split.images.to(GPU), split.labels.to(GPU))
        for split in (data.train, data.test, data.validation)
    )
    return replace(data, train=train, test=test, validation=validation)


def pruned(granularity: str) -> nn.Module:
    """The pruned network of `test_step`, on the GPU."""
    return test_step.pruned(granularity).to(GPU)
