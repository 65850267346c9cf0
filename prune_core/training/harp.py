"""HARP: the scores of units and the share that each module keeps, trained together.

Scores start and act as HYDRA's do (`prune_core.training.hydra`). The share of a module is a sigmoid
between a least one, a tenth of the target's, and 1; its gradient is that of all its gates together.
A penalty on the weights that are left beyond the target grows by `GAMMA` an epoch, from `GAMMA`,
and stays as it is once an epoch ends with the target reached. Recipe and constants are the authors'
for CIFAR-10. Their shares start at 0.1 for targets down to 0.01; here they start there or at the
target, whichever is more. Under channels, where their penalty is on FLOPs and shares start whole,
it is on weights and they start as under weights.

Source:
    Zhao and Wressnegger, 2023 (arXiv 2212.14618), and github.com/intellisec/harp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.scores.learning import share_removed, units_kept
from prune_core.specs.registry import CRITERIA
from prune_core.specs.stages import Scores
from prune_core.training.hydra import Learner

GAMMA = 0.01
"""The weight of the penalty in the first epoch, and by how much it grows with each."""
START, LEAST = 0.1, 0.1
"""The share that modules start with; the least that they may keep, as a share of the target."""
TOP = 0.99
"""Where shares start at most, on the scale of the sigmoid, which has no 1."""


class RateLearner(Learner):
    """A network whose scores can be trained, and the shares that its modules keep."""

    def __init__(self, network: nn.Module, modules: Sequence[PrunableModule], stage: Scores):
        super().__init__(network, modules, stage)
        kept = 1 - share_removed(stage)
        self._least, start = LEAST * kept, max(START, kept)
        place = min(TOP, (start - self._least) / (1 - self._least))
        device = next(network.parameters()).device
        rates = torch.full((len(modules),), math.log(place / (1 - place)), device=device)
        self._rates = nn.Parameter(rates)
        # A channel less is a row less here and a column less there.
        self._target = kept**2 if stage.unit == "channel" else kept
        self._sides = _sides(network, modules)
        self._total = sum(weights for weights, _ in self._sides)
        self._raised: Tensor
        self.register_buffer("_raised", torch.zeros(2, dtype=torch.int64))

    def kept(self) -> Tensor:
        """Return the share of its units that each module keeps now [modules]."""
        return torch.sigmoid(self._rates) * (1 - self._least) + self._least

    def removed(self) -> dict[str, float | Tensor]:
        """Return the share of its units that each module is without now."""
        names = (module.name for module in self._modules_)
        return dict(zip(names, (1 - self.kept()).unbind(), strict=True))

    def excess(self) -> Tensor:
        """Return by which share of the target the weights that are left are beyond it."""
        kept = self.kept()
        left = torch.zeros_like(kept[0])
        for weights, sides in self._sides:
            share = torch.ones_like(left)
            for side in sides:
                share = share * (1 - sum(part * (1 - kept[index]) for index, part in side.items()))
            left = left + weights * share
        return torch.relu(left / self._total / self._target - 1)

    def penalty(self, epoch: int) -> Tensor:
        """Return the weighted excess; an epoch, counted from 0, may raise the weight first."""
        excess = self.excess()
        before, raised = self._raised.tolist()
        if epoch > before:
            if raised == before and round(float(excess.detach()), 4) > 0:
                raised = epoch
            self._raised.copy_(torch.tensor([epoch, raised]))
        gamma: float = GAMMA * (raised + 1)
        return gamma * excess

    @torch.no_grad()
    def scores(self) -> dict[str, Tensor]:
        """Return the scores as they are now, over the lowest of those that their module keeps.

        By module [units]: what is kept is 1 or more, so that shares and order are both there, and
        one ranking of all units removes what the training removed.
        """
        removed = self.removed()
        return {
            name: _over_lowest(score, units_kept(score, removed[name]))
            for name, score in super().scores().items()
        }


def learner_of(network: nn.Module, modules: Sequence[PrunableModule], stage: Scores) -> Learner:
    """Return what trains the scores of a stage: that of the recipe which its criterion needs."""
    harp = "trained:harp" in CRITERIA[stage.criterion].needs
    return (RateLearner if harp else Learner)(network, modules, stage)


def _over_lowest(scores: Tensor, kept: int) -> Tensor:
    highest = scores.topk(kept).values
    highest = highest[highest > 0]
    return scores / highest.min() if len(highest) else scores


def _sides(
    network: nn.Module, modules: Sequence[PrunableModule]
) -> list[tuple[int, list[dict[int, float]]]]:
    """Return the number of weights of each layer, and which modules share its sides, by position.

    A module has its part of a side: all of it, or less where others, or no module, have the rest.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for index, module in enumerate(modules):
        for member in module.members:
            if member.side != "norm":
                weight = network.get_parameter(f"{member.layer}.weight")
                width = 1 if member.side == "weight" else weight.shape[int(member.side == "in")]
                part = 1.0 if member.side == "weight" else len(member.units) / width
                found.setdefault(member.layer, {}).setdefault(member.side, {})[index] = part
    return [
        (network.get_parameter(f"{layer}.weight").numel(), list(sides.values()))
        for layer, sides in found.items()
    ]
