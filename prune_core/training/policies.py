"""Policies by name: the weights and the learning rate with which fine-tuning begins.

A policy is a function ``(network, start) -> None`` that prepares the pruned network in place. If it
needs ``"rate"``, fine-tuning uses the learning rates of the last epochs of the dense network's
training. If it needs ``"rewound"``, ``start`` holds the dense network's earlier weights; if it
needs ``"fresh"``, a network that has learned nothing. With the trait ``rounds`` it prunes in
several rounds, trains after each, and begins each of these trainings. With the trait ``untrained``
nothing is trained after it. If it needs ``"images"``, it gets the clean training images. With the
trait ``grows`` it declares the settings of a `Growth` and returns the `Rule` by which masks change
in the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from prune_core.specs.recipes import Growth
from prune_core.specs.registry import method
from prune_core.training.growth import Rule, at_random, by_gradient


@dataclass(frozen=True)
class Start:
    """What a policy may use.

    Attributes:
        seed: The seed of all its random numbers.
        rewound: The dense network with its earlier weights, pruned in the same way; None if the
            policy does not need it.
        fresh: The network built anew from random numbers, pruned in the same way; None if the
            policy does not need it.
        images: The clean training images in batches [n, c, h, w] in [0,1], as they are; none if
            the policy does not need them.
        growth: How masks change in the training; None if the policy declares no such settings.
    """

    seed: int
    rewound: nn.Module | None = None
    fresh: nn.Module | None = None
    images: Iterable[Tensor] = ()
    growth: Growth | None = None


@method("none", traits=("untrained",))
def none(network: nn.Module, start: Start) -> None:
    """No fine-tuning."""
    del network, start


@method(
    "recalibrate",
    source="Li et al., 2020 (EagleEye, arXiv 2007.02491): adaptive BatchNorm",
    needs=("images",),
    traits=("untrained",),
)
def recalibrate(network: nn.Module, start: Start) -> None:
    """No training: BatchNorm's statistics are measured again on the clean training images.

    The difference to none is what a pruned network loses by statistics that are no longer its own.
    """
    update_bn(start.images, network)


@method("finetune", source="Han et al., 2015 (arXiv 1506.02626)")
def finetune(network: nn.Module, start: Start) -> None:
    """Train the pruned weights further, with the learning rate of the fine-tuning level."""
    del network, start


@method("lr-rewind", source="Renda et al., 2020 (arXiv 2003.02389)", needs=("rate",))
def lr_rewind(network: nn.Module, start: Start) -> None:
    """Train the pruned weights further, with the learning rates of the dense network's end."""
    del network, start


@method(
    "weight-rewind",
    source="Frankle et al., 2019 (arXiv 1903.01611); Renda et al., 2020 (arXiv 2003.02389)",
    needs=("rate", "rewound"),
)
def weight_rewind(network: nn.Module, start: Start) -> None:
    """Rewind weights and learning rate to an earlier epoch of the dense network's training."""
    _rewind(network, start)


@method("iterative", source="Han et al., 2015 (arXiv 1506.02626)", traits=("rounds",))
def iterative(network: nn.Module, start: Start) -> None:
    """Prune in several rounds, in geometric steps, and train the weights further after each."""
    del network, start


@method(
    "iterative-rewind",
    source="Frankle and Carbin, 2019 (arXiv 1803.03635); Renda et al., 2020 (arXiv 2003.02389)",
    needs=("rate", "rewound"),
    traits=("rounds",),
)
def iterative_rewind(network: nn.Module, start: Start) -> None:
    """As iterative, but every round rewinds what is left, weights and rate, to one earlier epoch.

    Where a round has as many epochs as the dense network's training, it is the first epoch's begin:
    the lottery ticket of Frankle and Carbin.
    """
    _rewind(network, start)


@method("scratch", source="Liu et al., 2019 (arXiv 1810.05270)", needs=("fresh",), revision=2)
def scratch(network: nn.Module, start: Start) -> None:
    """Train the pruned architecture from new random weights: a control for every pruning."""
    if start.fresh is None:
        raise ValueError("policy 'scratch' needs the network built anew")
    network.load_state_dict(start.fresh.state_dict())


@method(
    "rigl",
    source="Evci et al., 2020 (arXiv 1911.11134)",
    traits=("grows",),
    settings={"drop_share": 0.3, "update_every": 100, "stop_growing": 0.75},
)
def rigl(network: nn.Module, start: Start) -> Rule:
    """As finetune, but at times small weights are dropped and those of large gradients grow.

    The smallest weights of every layer go, as many of the largest dense gradient come, and the
    optimizer makes no step then.
    """
    del network
    return Rule(_growth(start), by_gradient, replaces_step=True)


@method(
    "flying-bird",
    source="Chen et al., 2022 (arXiv 2202.09844): Flying Bird, without its +",
    traits=("grows",),
    settings={"drop_share": 0.5, "update_every": 900, "stop_growing": 1.0},
)
def flying_bird(network: nn.Module, start: Start) -> Rule:
    """As finetune, but at times small weights are dropped and others grow, drawn at random.

    Drawn, as in the authors' commands. The share that is dropped falls to 0.005, as theirs.
    """
    del network
    return Rule(_growth(start), at_random, math.ceil, least=0.005)


def _growth(start: Start) -> Growth:
    if start.growth is None:
        raise ValueError("a policy that changes masks needs the settings of the growth")
    return start.growth


def _rewind(network: nn.Module, start: Start) -> None:
    if start.rewound is None:
        raise ValueError("a policy that rewinds needs the dense network's earlier weights")
    network.load_state_dict(start.rewound.state_dict())
