"""Peaks of what is measured of a network before it is pruned: its scores and its sensitivities.

The code that measures is run on as many images as it is to read, all of them hollow, and stopped
where later passes hold no more than those before.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from orchestrator.worker.peaks.attacks import EnoughError
from orchestrator.worker.peaks.hollow import hollow
from orchestrator.worker.peaks.live import Live, emptied
from orchestrator.worker.peaks.trainings import STEPS, Images, training_peak
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.ratios import sensitivities
from prune_core.pruning.ratios.climb import PARTS, SMALLEST
from prune_core.pruning.scores import scoring
from prune_core.pruning.scores.signals import MAP_IMAGES
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Scores, Sensitivity
from prune_core.training.harp import learner_of

BATCHES = 2
"""Of calibration images that are passed, at most; of the others there are only the images."""
ENOUGH = 22
"""Passes after which scoring is stopped; MAD's mask is fitted to a batch in 20."""
ROUNDS = 3
"""As many, where no images are read: SynFlow's rounds are alike."""
LAYERS = 6
"""The first ones that are climbed on: where maps are large, what is before a layer takes as much as
what follows."""


def scores_peak(network: nn.Module, images: Images, stage: Scores) -> int:
    """Return the bytes that are alive at once, at most, while a network is scored.

    Args:
        network: What is scored; it stays as it is.
        images: What the criterion may read; they are on the same device.
        stage: The criterion, and what it is given; scores may have to be trained first.

    Raises:
        Exception: A criterion of the user's own does what is not foreseen.
    """
    view = prunable_view(network, images.shape, stage.unit)
    peak = _scored(network, images, view.modules, stage)
    if stage.training is None:
        return peak
    learner = learner_of(network, view.modules, stage)
    teacher = network if stage.training.taught else None
    how = stage.training, stage.threat, stage.compute, teacher
    tensors = (*network.parameters(), *network.buffers()) if teacher is None else ()
    beside = sum(tensor.nbytes for tensor in tensors)
    return max(peak, beside + training_peak(learner, images, *how))


def _scored(
    network: nn.Module, images: Images, modules: Sequence[PrunableModule], stage: Scores
) -> int:
    trained = {module.name: torch.zeros(module.units) for module in modules}
    rest, enough = 0, ROUNDS
    if (calibration := stage.calibration) is not None:
        count = min(calibration.samples, images.train)
        passed = min(count, max(BATCHES * calibration.batch_size, MAP_IMAGES))
        rest = (count - passed) * (4 * math.prod(images.shape) + 8)
        few = {"samples": passed, "attack_steps": min(calibration.attack_steps, STEPS)}
        stage = stage.model_copy(update={"calibration": calibration.model_copy(update=few)})
        # Maps are scored batch by batch.
        enough = 1 if "maps" in CRITERIA[stage.criterion].needs else ENOUGH
        batches = math.ceil(passed / calibration.batch_size)
        enough += batches * STEPS * (stage.threat is not None)
    with hollow() as live:
        scored = network if calibration is None else emptied(network)
        live.follow((*scored.parameters(), *scored.buffers()))
        with _stopped(scored, enough):
            scoring.score(scored, images.made(), modules, stage, trained)
    return live.peak + rest


def sensitivity_peak(network: nn.Module, images: Images, stage: Sensitivity) -> int:
    """Return the bytes that are alive at once, at most, while sensitivities are measured.

    Args:
        network: What they are measured of; it stays as it is.
        images: What the estimator reads; they are on the same device.
        stage: The estimator, the threat, and how many images, steps and restarts.

    Raises:
        Exception: An estimator of the user's own does what is not foreseen.
    """
    estimation = stage.estimation
    count = min(estimation.samples, images.train)
    batches = math.ceil(count / min(max(SMALLEST, math.ceil(count / PARTS)), estimation.batch_size))
    few = {
        "attack_steps": min(estimation.attack_steps, STEPS),
        "steps": min(estimation.steps, STEPS),
        "restarts": 1,
        "few_steps": min(estimation.few_steps, batches + 1),
        "most_steps": min(estimation.most_steps, batches + 2),
    }
    stage = stage.model_copy(update={"estimation": estimation.model_copy(update=few)})
    layers = [*masks.maskable(network)][:LAYERS]
    view, scores, held = None, {}, 0
    if stage.scores is not None and stage.granularity is not None:
        with Live() as looking:  # a graph of the network, and what an image leaves in it
            looking.follow((*network.parameters(), *network.buffers()))
            before = looking.bytes
            view = prunable_view(network, images.shape, stage.granularity)
        held = looking.bytes - before
        scores = {module.name: torch.zeros(module.units) for module in view.modules}
    # The attack, a look at all images and one with gradients; each layer is tried twice.
    enough = batches * (STEPS + 2 + 2 * LAYERS)
    with hollow() as live:
        tried = emptied(network)
        live.follow((*tried.parameters(), *tried.buffers(), *scores.values()))
        data = images.made()
        with _stopped(tried, enough):
            if view is None:
                sensitivities.measure(tried, layers, data, stage)
            else:
                sensitivities.measure_removal(tried, view, scores, data, stage)
    return live.peak + held


@contextlib.contextmanager
def _stopped(network: nn.Module, passes: int) -> Iterator[None]:
    """Let a network pass so often, and leave the context with the next pass."""
    done = 0

    def note(*_: object) -> None:
        nonlocal done
        done += 1
        if done > passes:
            raise EnoughError

    hook = network.register_forward_pre_hook(note)
    try:
        with contextlib.suppress(EnoughError):
            yield
    finally:
        hook.remove()
