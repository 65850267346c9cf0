"""Networks as they begin: an architecture's random weights, or those of a checkpoint."""

from __future__ import annotations

from prune_core.attacks.evaluation import check_expected
from prune_core.data.datasets import Dataset
from prune_core.models import architectures, checkpoints
from prune_core.models.architectures import Shape
from prune_core.models.classifier import Classifier, normalisation
from prune_core.specs.keys import derive_seed
from prune_core.specs.stage import Stage
from prune_core.specs.stages import Dense, dense_of


def blank(stage: Stage, data: Dataset, seed: int | None = None) -> Classifier:
    """Return the architecture of a stage's dense network as built, on the CPU.

    Args:
        stage: A stage that descends from the dense network.
        data: What it is for.
        seed: Of its weights; by default the dense network's own.
    """
    dense = dense_of(stage)
    seed = derive_seed(dense.key, "initialisation") if seed is None else seed
    constants = normalisation(dense.normalise, data.mean, data.std)
    return architectures.build(dense.architecture, data.shape, data.classes, *constants, seed)


def fits(dense: Dense, shape: Shape, classes: int) -> None:
    """Check, without the images, that a dense network can begin so.

    Raises:
        CheckpointError: As `first`, but for the accuracy.
    """
    even = (0.5,) * shape[0]
    constants = normalisation(dense.normalise, even, even)
    network = architectures.build(dense.architecture, shape, classes, *constants, seed=0)
    if dense.checkpoint is not None:
        checkpoints.start(network, dense.checkpoint)


def first(dense: Dense, data: Dataset) -> Classifier:
    """Return a dense network as its training begins, where the data are.

    Raises:
        CheckpointError: Its checkpoint is another file, of another network, or not as accurate as
            it is known to be.
    """
    network = blank(dense, data).to(data.train.labels.device)
    if dense.checkpoint is not None:
        checkpoints.start(network, dense.checkpoint)
        check_expected(network, data.test, dense.checkpoint)
    return network
