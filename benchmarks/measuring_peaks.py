"""Peaks of criteria and estimators, predicted, and as the CPU's allocator counts them.

    python benchmarks/measuring_peaks.py [--batches 4,16] [--only TEXT]

Three batches; attacks and climbs of two steps, as more of them take no more memory. What is
predicted stops early; what is counted does not. In bytes that are alive at once.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from peaks import CLASSES, SHAPE, counted, held, show
from torch import nn

from orchestrator.planning.trials import IMAGES
from orchestrator.worker.peaks.measurings import scores_peak, sensitivity_peak
from orchestrator.worker.peaks.trainings import Images
from prune_core.models.architectures import build
from prune_core.pruning.prunable import masks
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.ratios import sensitivities
from prune_core.pruning.scores import criteria, learning, signals
from prune_core.pruning.scores.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.registry import CRITERIA, SENSITIVITIES
from prune_core.specs.settings import Calibration, Dataset, Estimation, PruningRules, Threat
from prune_core.specs.stages import Dense, Scores, Sensitivity
from prune_core.training.harp import learner_of
from prune_core.training.loop import fit

ARCHITECTURES = ("resnet8", "vgg8", "resnet20", "mobilenetv2", "resnet18")
"""All criteria and estimators on each."""
BATCHES = 3
SHORT = {(signals, "PROBES"): 2, (learning, "EPOCHS"): 2, (criteria, "ROUNDS"): 4}
"""What is repeated less often than else: all are alike, and the profiler keeps each operation."""
DENSE = Dense(
    dataset=Dataset(name="generated"),
    architecture="resnet8",
    training=Training(epochs=1).resolved(),
    threat=None,
    seed=0,
)
"""What keys derive from."""


def scores_stage(criterion: str, unit: str, batch: int, count: int) -> Scores:
    """Return the stage of a criterion that reads so many images."""
    needs = CRITERIA[criterion].needs
    few = {"batch_size": batch, "attack_steps": 2}
    recipes = PruningRules().score_trainings
    recipe = next((recipes[n.removeprefix("trained:")] for n in needs if "trained:" in n), None)
    training = recipe and recipe.model_copy(update={**few, "epochs": 1})
    threat = Threat() if "threat" in needs or (training and training.adversarial) else None
    read = Calibration(samples=count, **few) if IMAGES.intersection(needs) else None
    asked = {"calibration": read, "training": training, "threat": threat, "sparsity": 0.5}
    return Scores.model_validate({"network": DENSE, "criterion": criterion, "unit": unit, **asked})


def sensitivity_stage(estimator: str, granularity: str, batch: int, count: int) -> Sensitivity:
    """Return the stage of an estimator that reads so many images."""
    few = {"attack_steps": 2, "steps": 2, "restarts": 1, "few_steps": BATCHES + 1, "shares": (0.5,)}
    how = Estimation.model_validate({"samples": count, "batch_size": batch, **few})
    stage = Sensitivity(network=DENSE, estimator=estimator, estimation=how, threat=Threat())
    if not any(need.startswith("scores") for need in SENSITIVITIES[estimator].needs):
        return stage
    scores = Scores(network=DENSE, criterion="l1")
    return stage.model_copy(update={"scores": scores, "granularity": granularity})


def both_scores(network: nn.Module, images: Images, stage: Scores) -> tuple[int, int, float]:
    """Return the predicted and the counted peak of scoring, and how long predicting took."""
    began = time.perf_counter()
    foreseen = scores_peak(network, images, stage)
    seconds = time.perf_counter() - began
    modules = prunable_view(network, images.shape, stage.unit).modules

    def work() -> None:
        data, trained = images.made(), None
        if stage.training is not None:
            learner = learner_of(network, modules, stage)
            teacher = network if stage.training.taught else None
            how = stage.training, stage.threat, "peak"
            fit(learner, data, *how, teacher=teacher, penalty=learner.penalty)
            trained = learner.scores()
            del learner
        score(network, data, modules, stage, trained)

    return foreseen, counted(work, held(network)), seconds


def both_sensitivities(
    network: nn.Module, images: Images, stage: Sensitivity
) -> tuple[int, int, float]:
    """Return the predicted and the counted peak of an estimator, and how long predicting took."""
    began = time.perf_counter()
    foreseen = sensitivity_peak(network, images, stage)
    seconds = time.perf_counter() - began

    def work() -> None:
        data = images.made()
        if stage.granularity is None:
            sensitivities.measure(network, [*masks.maskable(network)], data, stage)
            return
        view = prunable_view(network, images.shape, stage.granularity)
        scores = {module.name: torch.rand(module.units) for module in view.modules}
        sensitivities.measure_removal(network, view, scores, data, stage)

    return foreseen, counted(work, held(network)), seconds


def names() -> list[str]:
    """Return the names of all criteria, with something for every placeholder."""
    return [name.replace("<k>", "4").replace("<criterion>", "snip") for name in CRITERIA.methods]


def cases(units: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Go through all criteria and estimators, each by the units that it is for."""
    for unit in units:
        for name in names():
            if unit == "channel" or "channels" not in CRITERIA[name].traits:
                yield name, unit
    yield from ((name, "channel") for name in SENSITIVITIES.methods)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", default="4,16")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for (module, name), number in SHORT.items():
        setattr(module, name, number)
    print(f"{'network':<15}{'':<24}{'batch':>6}{'predicted':>11}{'counted':>9}  ratio  seconds")
    for architecture in ARCHITECTURES:
        half = (0.5,) * SHAPE[0]
        network = build(architecture, SHAPE, CLASSES, half, half, 0).eval()
        units = ("channel", "weight") if architecture == "resnet8" else ("channel",)
        for batch in map(int, arguments.batches.split(",")):
            count = BATCHES * batch
            images = Images(SHAPE, CLASSES, count, batch, batch)
            for name, unit in cases(units):
                if arguments.only not in f"{architecture} {name} {unit}":
                    continue
                if name in SENSITIVITIES.methods:
                    stage = sensitivity_stage(name, unit, batch, count)
                    found = both_sensitivities(network, images, stage)
                else:
                    found = both_scores(network, images, scores_stage(name, unit, batch, count))
                show(architecture, f"{name}, {unit}", batch, *found)


if __name__ == "__main__":
    main()
