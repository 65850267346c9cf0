"""How long a training is held up by its checkpoints, against writing each epoch's before the next.

ResNet-18's, by what they hold: weights and SGD's momentum; averages and the best epoch besides. The
training itself is not run: its epochs are of a given length, in which this process sleeps.

Run: python benchmarks/checkpoints.py [folder to write to]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from orchestrator.state.artifacts import Artifacts
from orchestrator.worker.checkpoints import Checkpoints
from prune_core.data.datasets import Dataset, load
from prune_core.models import architectures
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset as DatasetSpec
from prune_core.specs.stages import Dense
from prune_core.training.loop import _Run
from results.tables.storage import Storage

EPOCHS, SECONDS = 12, 2.0
"""Epochs of a training, and how long each takes."""
RECIPES = {
    "SGD": Training(objective="standard", epochs=12),
    "SGD, averages, selection": Training(
        objective="standard", epochs=12, averaging="ema", selection="validation"
    ),
}
CARRIED = 6.0
"""Seconds from one checkpoint to the next: three epochs, as 60 s are at 20 s an epoch."""


def trained(recipe: Training, data: Dataset) -> _Run:
    """Return a training of ResNet-18 that has an optimizer's state, and a best epoch if it asks."""
    network = architectures.build("resnet18", (3, 32, 32), 10, (0.5,) * 3, (0.5,) * 3, 0)
    run = _Run(network, data, recipe, None, "key", Compute(), None, None, None)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run._optimizer.step()
    if recipe.selection == "validation":
        run._best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return run


def held_up(run: _Run, stage: Dense, folder: Path, every: float, waits: bool) -> tuple[float, int]:
    """Return the seconds that a training's epochs waited in all, and the bytes written."""
    checkpoints = Checkpoints(Artifacts(Storage(str(folder))), every)
    waited, copies, size = 0.0, 0, 0
    for epoch in range(EPOCHS):
        time.sleep(SECONDS)
        start = time.perf_counter()
        if checkpoints.due(last=epoch == EPOCHS - 1):
            copied = run.checkpoint()
            size = sum(t.numel() * t.element_size() for t in copied.tensors.values())
            checkpoints.save(stage, copied)
            copies += 1
        if waits:
            checkpoints.finish()
        waited += time.perf_counter() - start
    checkpoints.finish()
    return waited, copies * size


def main(folder: str | None = None) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    spec = DatasetSpec(name="digits")
    data = load(spec, torch.device("cpu"))
    print("| training | how | held up, ms an epoch | written, MB an epoch | of before |")
    print("| --- | --- | --- | --- | --- |")
    for name, recipe in RECIPES.items():
        stage = Dense(
            dataset=spec, architecture="resnet18", training=recipe.resolved(), threat=None, seed=0
        )
        run, before = trained(recipe.resolved(), data), 0.0
        ways = {
            "before: every epoch, waited for": (0.0, True),
            "every epoch, in the background": (0.0, False),
            f"every {CARRIED:g} s, in the background": (CARRIED, False),
        }
        for how, (every, waits) in ways.items():
            with tempfile.TemporaryDirectory(dir=folder) as to:
                waited, size = held_up(run, stage, Path(to), every, waits)
            before = before or waited
            each, written = waited / EPOCHS * 1e3, size / EPOCHS / 1e6
            print(f"| {name} | {how} | {each:.0f} | {written:.0f} | {waited / before:.2f} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
