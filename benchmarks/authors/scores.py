"""Scores of criteria beside their authors' code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from authors import CPU, Row, functions_of
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.pruning.granularities import prunable_view
from prune_core.pruning.scoring import score
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Calibration, Dataset
from prune_core.specs.stages import Dense, Scores
from prune_core.training import loop as training


def grasp(originals: Path) -> Iterator[Row]:
    """Weights kept at 90 % by ours and by theirs, from the same 10 images of every class."""
    theirs = functions_of(
        originals / "GraSP" / "pruner" / "GraSP.py",
        "import copy, math, types\nimport torch\nimport torch.nn as nn\n"
        "import torch.autograd as autograd\nimport torch.nn.functional as F",
        {},
    )
    stage = Dense(
        dataset=Dataset(name="digits"), architecture="resnet8", threat=None, seed=0,
        training=Training(objective="standard", epochs=3, lr=0.05).resolved(),
    )  # fmt: skip
    data = datasets.load(stage.dataset, CPU)
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    training.fit(network, data, stage.training, None, stage.key)
    network.eval()
    order = sorted(range(len(data.train)), key=lambda i: int(data.train.labels[i]))
    chosen = [i for label in range(10) for i in
              [j for j in order if int(data.train.labels[j]) == label][:10]]  # fmt: skip
    some = replace(data, train=data.train.take(torch.tensor(chosen)))
    kept = theirs.GraSP(
        network, 0.9, [data.train.batch(slice(None))] * 2, CPU, 10, 10, 1, 200, False
    )
    modules = {name: module for name, module in network.named_modules() if module in kept}
    theirs_kept = torch.cat([kept[module].bool().flatten() for module in modules.values()])
    for name in ("grasp", "grasp-1"):
        scored = Scores(
            network=stage, criterion=name, unit="weight",
            calibration=Calibration(samples=100, batch_size=50),
        )  # fmt: skip
        scores = score(network, some, prunable_view(network, data.shape, "weight").modules, scored)
        whole = torch.cat([scores[module] for module in modules])
        best = whole >= whole.topk(int(theirs_kept.sum())).values[-1]
        both = float((best & theirs_kept).sum() / theirs_kept.sum())
        yield f"{name}: weights of theirs (temperature 200) kept too", f"{both:.3f}"
