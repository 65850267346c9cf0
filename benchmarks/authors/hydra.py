"""HYDRA's scores beside its authors' code."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from authors import CPU, Row, apart, functions_of
from authors.learned import LAYERS, THREAT, TORCH, adversarial_digits, four_layers, noted, shared
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.pruning.prunable.groups import highest
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.training import loop as training
from prune_core.training.hydra import Learner
from prune_core.training.objectives import Context
from prune_core.training.optimizers import make_optimizer

KEPT = 0.1


class _Theirs:
    """Their code, and a network of theirs that is ready to be pruned."""

    def __init__(self, originals: Path, dense: nn.Module, recipe: Training):
        folder = originals / "hydra"
        layers = functions_of(
            folder / "models" / "layers.py",
            TORCH + "import torch.autograd as autograd\nfrom torch.nn.parameter import Parameter",
            {},
        )
        model = functions_of(folder / "utils" / "model.py", TORCH + "import os", {})
        model.SubnetConv = layers.SubnetConv  # type: ignore[attr-defined] # an import of theirs
        self.schedules = functions_of(
            folder / "utils" / "schedules.py", TORCH + "import numpy as np", {}
        )
        self.adversary = functions_of(
            folder / "utils" / "adv.py",
            TORCH + "from torch.autograd import Variable\nimport torch.optim as optim",
            {"size_average=False": "reduction='sum'"},
        )
        self.args = SimpleNamespace(
            k=KEPT, exp_mode="prune", freeze_bn=False, scores_init_type=None, optimizer="sgd",
            lr=recipe.lr, momentum=recipe.momentum, wd=recipe.weight_decay, epochs=recipe.epochs,
            warmup_epochs=0,
        )  # fmt: skip
        self.network = four_layers(layers.SubnetConv, layers.SubnetLinear)
        with contextlib.redirect_stdout(io.StringIO()):  # they say what they do
            model.prepare_model(self.network, self.args)
            self.network.load_state_dict(dense.state_dict(), strict=False)
            model.initialize_scaled_score(self.network)
        self.optimizer = self.schedules.get_optimizer(self.network, self.args)

    def scores(self) -> dict[str, Tensor]:
        return {
            name: self.network.get_parameter(f"{name}.popup_scores").detach().abs().flatten()
            for name in LAYERS
        }

    def step(self, images: Tensor, labels: Tensor, recipe: Training) -> None:
        """Do what their trainer does with a batch."""
        self.network.train()
        self.network(images)
        size = (recipe.attack_step or 0.0) * THREAT.eps
        loss = self.adversary.trades_loss(
            self.network, images, labels, CPU, self.optimizer, size, THREAT.eps,
            recipe.attack_steps, recipe.beta, 0, 1,
        )  # fmt: skip
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def train(self, data: datasets.Dataset, recipe: Training) -> None:
        """Train the scores for all epochs."""
        rate = self.schedules.get_lr_policy("cosine")(self.optimizer, self.args)
        for epoch in range(recipe.epochs):
            rate(epoch)
            for batch in torch.randperm(len(data.train)).split(recipe.batch_size):
                self.step(*data.train.batch(batch), recipe)


def hydra(originals: Path) -> Iterator[Row]:
    """Scores at the start, after a step from the same attacked images, and what is kept after all.

    The network is adversarially trained on digits; a tenth of each layer is to stay.
    """
    data, dense, modules, stage = adversarial_digits("hydra", KEPT)
    recipe = stage.training
    theirs, ours = _Theirs(originals, dense, recipe), Learner(dense, modules, stage)
    first = theirs.scores()
    worst = max(apart(ours.scores()[name], first[name]) for name in LAYERS)
    yield "hydra: scores at the start, largest relative difference of a layer", f"{worst:.1e}"

    batch = data.train.batch(slice(0, 128))
    with seeded(0, CPU), noted(theirs.network) as passed:
        theirs.step(*batch, recipe)
    attacked = passed[2]  # clean for the accuracy, clean, attacked, clean
    ours.train()
    optimizer = make_optimizer(ours, recipe)
    context = Context(recipe, lambda *_: attacked)
    OBJECTIVES.load("trades")(ours, *batch, context)[0].backward()
    optimizer.step()
    start = Learner(dense, modules, stage).scores()
    worst = max(
        apart(ours.scores()[name] - start[name], theirs.scores()[name] - first[name])
        for name in LAYERS
    )
    yield "hydra: change of the scores by one step, the same", f"{worst:.1e}"

    def kept(scores: dict[str, Tensor]) -> dict[str, set[int]]:
        counts = {name: len(score) - int((1 - KEPT) * len(score)) for name, score in scores.items()}
        return {name: set(highest(score, counts[name])) for name, score in scores.items()}

    def trained_by_theirs(seed: int) -> dict[str, set[int]]:
        learner = _Theirs(originals, dense, recipe)
        with seeded(seed, CPU):
            learner.train(data, recipe)
        return kept(learner.scores())

    def trained_by_ours(seed: int) -> dict[str, set[int]]:
        learner = Learner(dense, modules, stage)
        training.fit(learner, data, recipe, THREAT, f"seed {seed}")
        return kept(learner.scores())

    mine = [trained_by_ours(seed) for seed in (0, 1)]
    other = [trained_by_theirs(seed) for seed in (0, 1)]
    pairs = {
        "theirs and ours, mean of four pairs": [(a, b) for a in mine for b in other],
        "theirs under two seeds": [(other[0], other[1])],
        "ours under two seeds": [(mine[0], mine[1])],
        "theirs and the start, which is magnitude": [(other[0], kept(first))],
    }
    for which, compared in pairs.items():
        shares = [shared(one, another) for one, another in compared]
        yield f"hydra: kept by both of {which}", f"{sum(shares) / len(shares):.3f}"
