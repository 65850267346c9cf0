"""Objectives by name: the losses that trainings minimise.

An objective is a function ``(network, images, labels, context) -> (loss, logits)``:

- ``network`` is in training mode.
- ``images`` [n, c, h, w] in [0,1] are clean; ``labels`` are [n].
- ``loss`` is the mean over the images.
- ``logits`` [n, classes] belong to the images that were trained on, which are adversarial under an
  adversarial objective.

It declares the fields of `prune_core.specs.recipes.Training` that it reads as ``settings``, with
the values of its paper; those that users may not change are ``fixed``. A name with ``<objective>``
wraps another objective.

Every forward pass of the loss updates BatchNorm's statistics. The passes of the attack do not if
``attack_mode`` is eval, as in the code of TRADES and MART. In mode train, as in the code of fast
adversarial training, they normalise by the batch and update the statistics too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prune_core.pruning.prunable import masks
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES, method
from prune_core.training.training_attack import AttackFunction
from prune_core.training.weight_perturbation import (
    AttackMemory,
    AtWeights,
    perturbation,
    perturbed_parameters,
)


@dataclass(frozen=True)
class Context:
    """What an objective needs besides the batch.

    Attributes:
        training: The recipe.
        training_attack: The attack of the training; None if the objective declares no threat.
        teacher: The dense network in eval mode; None if the objective declares no teacher.
        progress: The share of the training that is done, in [0,1].
    """

    training: Training
    training_attack: AttackFunction | None = None
    teacher: nn.Module | None = None
    progress: float = 0.0

    def attack(
        self, network: nn.Module, images: Tensor, labels: Tensor, kind: str = "pgd"
    ) -> Tensor:
        """Return adversarial images [n, c, h, w] of a batch.

        Args:
            network: The network to attack.
            images: Clean images [n, c, h, w] in [0,1].
            labels: Their classes [n].
            kind: Whose attack it is: ``pgd``, ``trades`` or ``mart``.

        Raises:
            ValueError: If the objective declares no threat.
        """
        if self.training_attack is None:
            raise ValueError(
                f"objective {self.training.objective!r} attacks, so it needs a threat: "
                'declare needs=("threat",)'
            )
        return self.training_attack(network, images, labels, kind)

    def setting(self, name: str) -> Any:
        """Return the value of a setting.

        Raises:
            ValueError: If the objective does not declare it.
        """
        value = getattr(self.training, name)
        if value is None:
            raise ValueError(
                f"objective {self.training.objective!r} reads {name}: "
                f'declare settings={{"{name}": ...}}'
            )
        return value


@method("standard", settings={"label_smoothing": 0.0})
def standard(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on clean images."""
    logits = network(images)
    return _cross_entropy(logits, labels, context), logits


@method(
    "fgsm",
    source="Wong et al., 2020 (arXiv 2001.03994)",
    needs=("threat",),
    settings={"attack_step": 1.25, "attack_mode": "train", "label_smoothing": 0.0},
    fixed={"attack_steps": 1},
)
def fgsm(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Fast adversarial training: one attack step from a random start, in training mode."""
    return pgd(network, images, labels, context)  # only the settings differ


@method(
    "pgd",
    source="Madry et al., 2018 (arXiv 1706.06083); attacked in eval mode as Pang et al., 2021",
    needs=("threat",),
    settings={"attack_steps": 10, "attack_mode": "eval", "label_smoothing": 0.0},
)
def pgd(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Cross-entropy on images attacked by PGD."""
    logits = network(context.attack(network, images, labels))
    return _cross_entropy(logits, labels, context), logits


@method(
    "trades",
    source="Zhang et al., 2019 (arXiv 1901.08573)",
    needs=("threat",),
    settings={"attack_steps": 10, "attack_mode": "eval", "beta": 6.0},
    wrapped={"awp_gamma": 0.005, "awp_warmup": 0.045},
    revision=2,
)
def trades(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Clean cross-entropy plus beta times the divergence of attacked from clean predictions.

    Clean and attacked images pass separately, so BatchNorm normalises each by its own batch. As in
    the authors' code clean images pass again at the end: BatchNorm's running statistics are theirs
    to two thirds. The authors take the divergence from that pass, which gives the same numbers.
    """
    attacked = context.attack(network, images, labels, "trades")
    clean, robust = network(images), network(attacked)
    with torch.no_grad():
        network(images)
    apart = F.kl_div(robust.log_softmax(1), clean.softmax(1), reduction="batchmean")
    return F.cross_entropy(clean, labels) + context.setting("beta") * apart, robust


@method(
    "mart",
    source="Wang et al., 2020 (OpenReview rklOg6EFwS)",
    needs=("threat",),
    settings={"attack_steps": 10, "attack_mode": "eval", "beta": 5.0},
)
def mart(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Boosted cross-entropy on attacked images plus beta times a weighted divergence.

    The divergence of attacked from clean predictions weighs more, the lower the clean probability
    of the true class is. Clean and attacked images pass separately.
    """
    attacked = context.attack(network, images, labels, "mart")
    clean, robust = network(images), network(attacked)
    tiny = 1e-12
    true = labels.unsqueeze(1)
    believed, doubted = robust.softmax(1), clean.softmax(1)
    runner_up = believed.scatter(1, true, 0).amax(1)
    # 1.0001, as in the authors' code, keeps the logarithm finite where the runner-up has all.
    boosted = F.cross_entropy(robust, labels) - torch.log(1.0001 - runner_up + tiny).mean()
    apart = F.kl_div((believed + tiny).log(), doubted, reduction="none").sum(1)
    doubt = 1.0000001 - doubted.gather(1, true).squeeze(1)
    return boosted + context.setting("beta") * (apart * doubt).mean(), robust


@method(
    "awp:<objective>",
    source="Wu et al., 2020 (arXiv 2004.05884)",
    settings={"awp_gamma": 0.01, "awp_warmup": 0.0},
    revision=2,
)
def awp(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context, objective: str
) -> tuple[Tensor, Tensor]:
    """Another objective, at weights that are perturbed to raise it.

    The perturbation of a layer is as long as gamma times the norm of its weights. As in the
    authors' code, images are attacked once, at the weights as they are; only parameters that are
    called a weight and are no vector are perturbed, or the scores where these are trained; and the
    pass that computes the perturbation does not change BatchNorm's statistics. The defaults are
    the authors' for adversarial training; `trades` has theirs for TRADES, which perturbs from the
    10th of 200 epochs on.
    """
    inner = OBJECTIVES.load(objective)
    if context.progress < context.setting("awp_warmup"):
        loss, logits = inner(network, images, labels, context)
        return loss, logits
    memory = AttackMemory(network, context.training_attack)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    at_weights = AtWeights(network, buffers)
    loss, _ = inner(at_weights, images, labels, replace(context, training_attack=memory.record))
    weights = perturbed_parameters(network)
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    kept = {
        f"{name}.weight": masks.mask_of(layer)
        for name, layer in masks.maskable(network).items()
        if hasattr(layer, "mask")
    }
    gamma = context.setting("awp_gamma")
    perturbed = {
        name: weight + perturbation(weight, gradient, kept.get(name), gamma)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }
    at_weights = AtWeights(network, perturbed)
    loss, logits = inner(
        at_weights, images, labels, replace(context, training_attack=memory.replay)
    )
    return loss, logits


@method(
    "ard",
    source="Goldblum et al., 2020 (arXiv 1905.09747)",
    needs=("threat", "teacher"),
    settings={
        "attack_steps": 10,
        "attack_step": 0.25,
        "attack_mode": "train",
        "distill_weight": 1.0,
        "temperature": 30.0,
    },
)
def ard(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Adversarially robust distillation: attacked images learn the dense network's clean answer.

    The rest of the weight is the cross-entropy on clean images. As in the authors' code the
    divergence is a mean over images and classes, and clean images pass whatever their weight.
    """
    robust = network(context.attack(network, images, labels))
    natural = F.cross_entropy(network(images), labels)
    share, heat = context.setting("distill_weight"), context.setting("temperature")
    taught = _taught(images, heat, context)
    apart = F.kl_div((robust / heat).log_softmax(1), taught, reduction="none").mean()
    return share * heat**2 * apart + (1 - share) * natural, robust


@method(
    "distill:<objective>",
    source="Hinton et al., 2015 (arXiv 1503.02531)",
    needs=("teacher",),
    settings={"distill_weight": 0.9, "temperature": 4.0},
)
def distill(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context, objective: str
) -> tuple[Tensor, Tensor]:
    """Another objective mixed with the divergence from the dense network's clean predictions."""
    loss, logits = OBJECTIVES.load(objective)(network, images, labels, context)
    share, heat = context.setting("distill_weight"), context.setting("temperature")
    taught = _taught(images, heat, context)
    apart = F.kl_div((logits / heat).log_softmax(1), taught, reduction="batchmean")
    return (1 - share) * loss + share * heat**2 * apart, logits


def _cross_entropy(logits: Tensor, labels: Tensor, context: Context) -> Tensor:
    smoothing = context.setting("label_smoothing")
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


@torch.no_grad()
def _taught(images: Tensor, heat: float, context: Context) -> Tensor:
    """Return what the dense network says of clean images, as probabilities [n, classes]."""
    if context.teacher is None:
        raise ValueError(
            f"objective {context.training.objective!r} learns from the dense network; only a "
            "fine-tuning has one"
        )
    taught: Tensor = (context.teacher(images) / heat).softmax(1)
    return taught
