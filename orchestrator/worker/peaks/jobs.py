"""Peaks of whole jobs: of their trainings and of what their networks are evaluated by.

A pruned network is not known yet: the dense one stands for it, with masks where single weights are
pruned, so that what is foreseen of a network that is to lose channels is an upper bound.
"""

from __future__ import annotations

from functools import lru_cache

from torch import nn

from orchestrator.planning.plan import Job
from orchestrator.planning.work import ON_FILES, measuring_form, measurings_of
from orchestrator.worker.peaks import attacks
from orchestrator.worker.peaks.measurings import scores_peak, sensitivity_peak
from orchestrator.worker.peaks.trainings import Images, training_peak
from prune_core.attacks.evaluation import BATCH
from prune_core.attacks.sanity import STEPS
from prune_core.data.outline import counted_extra, counted_images, outline
from prune_core.models import architectures
from prune_core.pruning.prunable import masks
from prune_core.specs.compute import Compute
from prune_core.specs.registry import ATTACKS, GRANULARITIES
from prune_core.specs.settings import Threat
from prune_core.specs.stage import Stage
from prune_core.specs.stages import (
    Dense,
    Finetuned,
    Pruned,
    Rewound,
    Scores,
    Sensitivity,
    Trial,
    dense_of,
)

Shape = tuple[int, int, int]


def reserved(compute: Compute) -> float:
    """Return how many bytes torch reserves on a GPU for each that is alive, at the peak.

    What cuDNN's kernels work in and blocks that are kept come to what is alive; where steps are
    replayed, so does the graph's own memory. Measured for PGD-10 of ResNet-18 on an H200
    (`benchmarks/gpu.py`): 1.9 at batches of 128 and 512, 2.6 with graphs in bfloat16, and 4.6 where
    cuDNN tries all its kernels in float32.
    """
    if compute.benchmark and compute.precision == "float32":
        return 4.6
    return 2.6 if compute.graphs == "auto" else 1.9


def job_peak(job: Job) -> int:
    """Return the bytes of a GPU that a job reserves at its peak.

    Raises:
        DatasetError: What the images are like is not known here.
        Exception: A method of the user's own asks tensors for their contents, or what else it does.
    """
    stage, dense = job.stage, dense_of(job.stage)
    shape, classes = outline(dense.dataset)
    images = _images(dense, shape, classes)
    measured = {measuring_form(each): each for each in measurings_of(stage)}
    peaks = [reserved(Compute()) * _measured(each, images) for each in measured.values()]
    if not isinstance(stage, Scores | Sensitivity):
        made = dense.architecture, shape, classes, _masked(stage)
        peaks.append(reserved(Compute()) * _evaluated(job, made, images))
        for each in _trainings(stage):
            dense_network = _network(*made[:3], masked=False) if each.training.taught else None
            trained = each.training, each.threat, each.compute, dense_network
            alive = training_peak(_network(*made), images, *trained)
            peaks.append(reserved(each.compute) * alive)
    return round(max(peaks))


def _trainings(stage: Stage) -> list[Dense | Finetuned]:
    if isinstance(stage, Rewound):
        return [stage.network]
    if isinstance(stage, Trial):
        return [*stage.trainings]
    return [stage] if isinstance(stage, Dense) else []


def _masked(stage: Stage) -> bool:
    """Return whether a stage's network has masks: what it makes, or what it measures."""
    network = stage.network if isinstance(stage, Scores | Sensitivity | Trial) else stage
    pruned = network.pruned if isinstance(network, Finetuned) else network
    return isinstance(pruned, Pruned) and "weights" in GRANULARITIES[pruned.granularity].traits


def _images(dense: Dense, shape: Shape, classes: int) -> Images:
    trained, tested = counted_images(dense.dataset)
    held_out = round(trained * dense.dataset.validation / (1 - dense.dataset.validation))
    extra = dense.dataset.extra
    further = counted_extra(extra), extra.share if extra else 0.0
    return Images(shape, classes, trained, held_out, tested, *further)


def _measured(stage: Scores | Sensitivity, images: Images) -> int:
    network = _network(dense_of(stage).architecture, images.shape, images.classes, _masked(stage))
    if isinstance(stage, Sensitivity):
        return sensitivity_peak(network, images, stage)
    return scores_peak(network, images, stage)


def _evaluated(job: Job, made: tuple[str, Shape, int, bool], images: Images) -> int:
    """Return the peak of a job's evaluations and checks, with the images of its data set."""
    network = _passes(*made)
    counts = dict.fromkeys(("clean", *job.attacks), BATCH)
    if isinstance(job.stage, Trial) and job.stage.sanity_images:
        counts[f"pgd-{STEPS}"] = max(BATCH * (f"pgd-{STEPS}" in counts), job.stage.sanity_images)
    peaks = [float(network.made)]
    for name, count in counts.items():
        on_files = any(word in ATTACKS.arguments(name) for word in ON_FILES)
        each = _attacked("clean" if on_files else name, job.threat, *made)
        peaks.append(network.weights + min(count, images.test) * each)
    pixels = images.shape[0] * images.shape[1] * images.shape[2]
    count = images.train + images.validation + images.test + images.extra
    return count * (pixels + 8) + round(max(peaks))  # labels are int64


@lru_cache(maxsize=2)
def _network(architecture: str, shape: Shape, classes: int, masked: bool) -> nn.Module:
    half = (0.5,) * shape[0]
    network = architectures.build(architecture, shape, classes, half, half, seed=0)
    for layer in masks.maskable(network).values() if masked else ():
        masks.attach(layer)
    return network


@lru_cache
def _passes(architecture: str, shape: Shape, classes: int, masked: bool) -> attacks.Passes:
    return attacks.passes(_network(architecture, shape, classes, masked), shape)


@lru_cache
def _attacked(
    name: str, threat: Threat | None, architecture: str, shape: Shape, classes: int, masked: bool
) -> float:
    network = _passes(architecture, shape, classes, masked)
    return attacks.attack_peak(name, threat, shape, classes, network)
