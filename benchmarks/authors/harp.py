"""HARP's scores and shares beside its authors' code."""

from __future__ import annotations

import contextlib
import io
import logging
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
from prune_core.training.harp import RateLearner
from prune_core.training.objectives import Context
from prune_core.training.optimizers import make_optimizer

KEPT = 0.05
Kept = dict[str, set[int]]


class _Theirs:
    """Their code, and a network of theirs that is ready to be pruned."""

    def __init__(self, originals: Path, dense: nn.Module, recipe: Training):
        utils = originals / "harp" / "utils"
        rates = functions_of(utils / "utils.py", TORCH, {})
        layers = functions_of(
            originals / "harp" / "models" / "layers.py",
            TORCH + "import torch.autograd as autograd\nfrom torch.nn.parameter import Parameter",
            {},
        )
        self.hw = functions_of(utils / "hw.py", TORCH + "import numpy as np", {})
        model = functions_of(utils / "model.py", TORCH + "import os", {})
        for module in (layers, self.hw, model):  # imports of theirs
            vars(module).update(
                rate_act_func=rates.rate_act_func, rate_init_func=rates.rate_init_func
            )
        model.SubnetConv = layers.SubnetConv  # type: ignore[attr-defined] # an import of theirs
        self.act = rates.rate_act_func
        self.schedules = functions_of(utils / "schedules.py", TORCH + "import numpy as np", {})
        self.adversary = functions_of(
            utils / "adv.py",
            TORCH + "from torch.autograd import Variable\nimport torch.optim as optim",
            {"size_average=False": "reduction='sum'"},
        )
        self.args = SimpleNamespace(
            k=KEPT, alpha=0.1, exp_mode="harp_prune", prune_reg="weight", freeze_bn=False,
            scores_init_type=None, optimizer="sgd", lr=recipe.lr, momentum=recipe.momentum,
            wd=recipe.weight_decay, epochs=recipe.epochs, warmup_epochs=0, gamma=0.01,
            gamma_dynamic=True, conv_k=[0.1] * 3, fc_k=[0.1], shortcut_k=[], stg_id="010_uni",
        )  # fmt: skip
        self.network = four_layers(layers.SubnetConv, layers.SubnetLinear)
        with contextlib.redirect_stdout(io.StringIO()):  # they say what they do
            model.prepare_model(self.network, self.args, CPU)
            self.network.load_state_dict(dense.state_dict(), strict=False)
            model.initialize_scaled_score(self.network)
            model.initialize_stg_rate(self.network, self.args, CPU, logging.getLogger("theirs"))
        self.optimizer = self.schedules.get_optimizer(self.network, self.args)
        self.frozen: float | None = None

    def scores(self) -> dict[str, Tensor]:
        return {
            name: self.network.get_parameter(f"{name}.popup_scores").detach().abs().flatten()
            for name in LAYERS
        }

    def rates(self) -> Tensor:
        rates = [self.network.get_parameter(f"{name}.k_score").detach() for name in LAYERS]
        return torch.stack(rates)

    def shares(self) -> Tensor:
        shares: Tensor = self.act(self.rates(), KEPT * self.args.alpha)
        return shares

    def penalty(self, epoch: int) -> tuple[float, Tensor]:
        gamma, excess, _ = self.hw.hw_loss(
            self.network, CPU, self.optimizer, self.args, epoch=epoch, frozen_gamma=self.frozen
        )
        return gamma, excess

    def step(self, images: Tensor, labels: Tensor, recipe: Training, epoch: int = 0) -> None:
        """Do what their trainer does with a batch."""
        self.network.train()
        self.network(images)
        size = (recipe.attack_step or 0.0) * THREAT.eps
        loss = self.adversary.pgd_loss(
            self.network, images, labels, CPU, self.optimizer, size, THREAT.eps,
            recipe.attack_steps, 6.0, 0, 1,
        )  # fmt: skip
        gamma, excess = self.penalty(epoch)
        self.optimizer.zero_grad()
        (loss + gamma * excess).backward()
        self.optimizer.step()

    def train(self, data: datasets.Dataset, recipe: Training) -> None:
        """Train scores and shares for all epochs."""
        rate = self.schedules.get_lr_policy("cosine")(self.optimizer, self.args)
        for epoch in range(recipe.epochs):
            rate(epoch)
            for batch in torch.randperm(len(data.train)).split(recipe.batch_size):
                self.step(*data.train.batch(batch), recipe, epoch)
            gamma, excess = self.penalty(epoch)
            if round(float(excess), 4) == 0.0:
                self.frozen = gamma


def harp(originals: Path) -> Iterator[Row]:
    """Scores, shares and penalty at the start and after a step; what is kept after all.

    The network is adversarially trained on digits; a twentieth of its weights is to stay.
    """
    data, dense, modules, stage = adversarial_digits("harp", KEPT)
    recipe = stage.training
    theirs, ours = _Theirs(originals, dense, recipe), RateLearner(dense, modules, stage)

    def raw(learner: RateLearner) -> dict[str, Tensor]:
        scores = zip(LAYERS, learner._scores, strict=True)
        return {name: score.detach().abs().clone() for name, score in scores}

    first, start, rates, begun = (
        theirs.scores(),
        raw(ours),
        theirs.rates(),
        ours._rates.detach().clone(),
    )
    worst = max(apart(start[name], first[name]) for name in LAYERS)
    yield "harp: scores at the start, largest relative difference of a layer", f"{worst:.1e}"
    yield "harp: shares at the start", f"{apart(ours.kept().detach(), theirs.shares()):.1e}"
    excess = theirs.penalty(0)[1].detach()
    yield "harp: penalty at the start", f"{apart(ours.excess().detach(), excess):.1e}"

    batch = data.train.batch(slice(0, 128))
    with seeded(0, CPU), noted(theirs.network) as passed:
        theirs.step(*batch, recipe)
    attacked = passed[1]  # clean for the accuracy, then attacked
    ours.train()
    optimizer = make_optimizer(ours, recipe)
    context = Context(recipe, lambda *_: attacked)
    loss, _ = OBJECTIVES.load("pgd")(ours, *batch, context)
    (loss + ours.penalty(0)).backward()
    optimizer.step()
    worst = max(apart(raw(ours)[n] - start[n], theirs.scores()[n] - first[n]) for n in LAYERS)
    yield "harp: change of the scores by one step", f"{worst:.1e}"
    yield (
        "harp: change of the shares' parameters by one step",
        f"{apart(ours._rates.detach() - begun, theirs.rates() - rates):.1e}",
    )

    def trained_by_theirs(seed: int) -> tuple[Kept, Tensor]:
        learner = _Theirs(originals, dense, recipe)
        with seeded(seed, CPU):
            learner.train(data, recipe)
        shares = dict(zip(LAYERS, learner.shares().tolist(), strict=True))
        kept = {
            name: set(highest(score, len(score) - int((1 - shares[name]) * len(score))))
            for name, score in learner.scores().items()
        }
        return kept, learner.shares()

    def trained_by_ours(seed: int) -> tuple[Kept, Tensor]:
        learner = RateLearner(dense, modules, stage)
        training.fit(learner, data, recipe, THREAT, f"seed {seed}", penalty=learner.penalty)
        scores = learner.scores()
        kept = {name: set((scores[name] >= 1).nonzero().flatten().tolist()) for name in LAYERS}
        return kept, learner.kept().detach()

    mine = [trained_by_ours(seed) for seed in (0, 1)]
    other = [trained_by_theirs(seed) for seed in (0, 1)]
    weights = sum(len(score) for score in first.values())
    for who, runs in (("theirs", other), ("ours", mine)):
        for kept, shares in runs:
            left = sum(map(len, kept.values())) / weights
            listed = ", ".join(f"{share:.3f}" for share in shares.tolist())
            yield f"harp: shares that {who} learned; of all", f"{listed}; {left:.4f}"
    pairs = {
        "theirs and ours, mean of four pairs": [(a, b) for a in mine for b in other],
        "theirs under two seeds": [(other[0], other[1])],
        "ours under two seeds": [(mine[0], mine[1])],
    }
    for which, compared in pairs.items():
        both = [shared(one[0], another[0]) for one, another in compared]
        yield f"harp: kept by both of {which}", f"{sum(both) / len(both):.3f}"
