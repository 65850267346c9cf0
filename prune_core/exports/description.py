"""What a network's file says of it: enough to build it again without the sweep it came from."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from pydantic import Field

from prune_core import __version__
from prune_core.data.datasets import Dataset
from prune_core.models.classifier import Classifier
from prune_core.pruning.prunable.groups import Shape, Structure
from prune_core.specs.fields import Spec
from prune_core.specs.stage import Stage, lineage
from prune_core.specs.stages import Pruned, dense_of

LIBRARIES = ("torch", "torchvision", "timm", "torch-pruning")


class Description(Spec):
    """What a network is, how it came about, and what was measured of it."""

    format: int = Field(1, description="of this description")
    architecture: str
    shape: Shape = Field(description="of an image in [0,1]: channels, height, width")
    classes: int
    names: tuple[str, ...] = Field((), description="of the classes 0, 1, ...; empty if not known")
    mean: tuple[float, ...] = Field(description="subtracted from each channel, inside the network")
    std: tuple[float, ...] = Field(description="divided by, after that")
    granularity: str | None = Field(None, description="of its pruning; None if it has none")
    structure: Structure | None = Field(
        None, description="channels that each module keeps, or the layers that have masks"
    )
    stage: str = Field(description="dense, prune or finetune")
    key: str
    lineage: dict[str, Any] = Field(description="it and all stages before it, by their keys")
    row: dict[str, Any] = Field(description="of the table trials, as far as it was measured")
    versions: dict[str, str]


def describe(
    network: Classifier,
    data: Dataset,
    stage: Stage,
    pruned: Pruned | None,
    structure: Structure | None,
    row: dict[str, Any],
) -> Description:
    """Return the description of a stage's network.

    Args:
        network: The network.
        data: What it classifies.
        stage: The stage that made it.
        pruned: The pruning that it descends from; None of a dense network.
        structure: What that pruning left; None where the network is whole, or masks are merged.
        row: The trial's row.
    """
    return Description(
        architecture=dense_of(stage).architecture,
        shape=data.shape,
        classes=data.classes,
        names=data.names,
        mean=tuple(network.normalise.mean.flatten().tolist()),
        std=tuple(network.normalise.std.flatten().tolist()),
        granularity=pruned.granularity if pruned else None,
        structure=structure,
        stage=stage.kind,
        key=stage.key,
        lineage=lineage(stage),
        row={name: value for name, value in row.items() if value is not None},
        versions={
            "mrsweep": __version__,
            "torch": torch.__version__,
            **{name: version(name) for name in LIBRARIES[1:]},
        },
    )
