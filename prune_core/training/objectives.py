"""Objectives: the loss that a training step descends.

An objective is a function ``(network, images, labels, context) -> (loss, logits)``, with the
network in training mode; logits are those of the images as trained on, adversarial ones under an
adversarial objective. The settings of `prune_core.specs.recipes.Training` that it reads are its
``settings``, with the values of its paper; one that no user may change is ``fixed``. A name with
``<objective>`` wraps another.

BatchNorm: in training mode its statistics follow every forward pass of the loss. The attack leaves
them alone where ``attack_mode`` is eval, as in the code of TRADES and MART; in mode train (the code
of fast adversarial training) it normalises by the batch, and its passes move the statistics too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prune_core.pruning import masks
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES, method
from prune_core.training.training_attack import AttackFunction


@dataclass(frozen=True)
class Context:
    """What an objective needs besides the batch; None for what it does not declare."""

    training: Training
    training_attack: AttackFunction | None = None
    teacher: nn.Module | None = None
    """The dense network, in eval mode."""

    def attack(
        self, network: nn.Module, images: Tensor, labels: Tensor, kind: str = "pgd"
    ) -> Tensor:
        """Return adversarial images, made as a paper has them: ``pgd``, ``trades`` or ``mart``."""
        if self.training_attack is None:
            raise ValueError(
                f"objective {self.training.objective!r} attacks, so it needs a threat: "
                'declare needs=("threat",)'
            )
        return self.training_attack(network, images, labels, kind)

    def setting(self, name: str) -> Any:
        """Return a setting; raise ValueError where the objective did not declare it."""
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
    """Fast adversarial training: one step from a random start, attacked in training mode."""
    return pgd(network, images, labels, context)  # its settings make the difference


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
)
def trades(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context
) -> tuple[Tensor, Tensor]:
    """Clean cross-entropy plus beta times the divergence of attacked from clean predictions.

    Clean and attacked images pass apart, so BatchNorm normalises each by its own batch.
    """
    attacked = context.attack(network, images, labels, "trades")
    clean, robust = network(images), network(attacked)
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
    """Boosted cross-entropy on attacked images plus beta times a divergence.

    The divergence of attacked from clean predictions counts by how little the true class is
    believed in. Clean and attacked images pass apart.
    """
    attacked = context.attack(network, images, labels, "mart")
    clean, robust = network(images), network(attacked)
    tiny = 1e-12
    true = F.one_hot(labels, robust.shape[1]).bool()
    believed, doubted = robust.softmax(1), clean.softmax(1)
    runner_up = believed.masked_fill(true, 0).amax(1)
    # 1.0001, as in the authors' code: the logarithm of no doubt at all stays finite.
    boosted = F.cross_entropy(robust, labels) - torch.log(1.0001 - runner_up + tiny).mean()
    apart = F.kl_div((believed + tiny).log(), doubted, reduction="none").sum(1)
    doubt = 1.0000001 - doubted[true]
    return boosted + context.setting("beta") * (apart * doubt).mean(), robust


@method(
    "awp:<objective>",
    source="Wu et al., 2020 (arXiv 2004.05884)",
    settings={"awp_gamma": 0.005},
)
def awp(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context, objective: str
) -> tuple[Tensor, Tensor]:
    """Another objective at weights perturbed against it, within gamma of each layer's norm.

    As in the authors' code: images are attacked once, at the weights as they are; vectors (biases,
    normalisations) stay; the pass that finds the perturbation leaves BatchNorm's statistics alone.
    """
    inner = OBJECTIVES.load(objective)
    seen = _Memory(network, context.training_attack)
    aside = _Shifted(network, {name: buffer.clone() for name, buffer in network.named_buffers()})
    loss, _ = inner(aside, images, labels, replace(context, training_attack=seen.record))
    weights = {n: p for n, p in network.named_parameters() if p.requires_grad and p.dim() > 1}
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    held = {
        f"{name}.weight": masks.mask_of(layer)
        for name, layer in masks.maskable(network).items()
        if hasattr(layer, "mask")
    }
    gamma = context.setting("awp_gamma")
    moved = {
        name: weight + _ascent(weight, gradient, held.get(name), gamma)
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        if gradient is not None
    }
    shifted = _Shifted(network, moved)
    loss, logits = inner(shifted, images, labels, replace(context, training_attack=seen.replay))
    return loss, logits


@method(
    "distill:<objective>",
    source="Hinton et al., 2015 (arXiv 1503.02531); robust: Goldblum et al., 2020 (1905.09747)",
    needs=("teacher",),
    settings={"distill_weight": 0.9, "temperature": 4.0},
)
def distill(
    network: nn.Module, images: Tensor, labels: Tensor, context: Context, objective: str
) -> tuple[Tensor, Tensor]:
    """Another objective, shared with the dense network's predictions on the clean images."""
    if context.teacher is None:
        raise ValueError(
            "objective 'distill' learns from the dense network, which fine-tuning alone has"
        )
    loss, logits = OBJECTIVES.load(objective)(network, images, labels, context)
    share, heat = context.setting("distill_weight"), context.setting("temperature")
    with torch.no_grad():
        taught = (context.teacher(images) / heat).softmax(1)
    apart = F.kl_div((logits / heat).log_softmax(1), taught, reduction="batchmean")
    return (1 - share) * loss + share * heat**2 * apart, logits


def _cross_entropy(logits: Tensor, labels: Tensor, context: Context) -> Tensor:
    smoothing = context.setting("label_smoothing")
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def _ascent(weight: Tensor, gradient: Tensor, mask: Tensor | None, gamma: float) -> Tensor:
    """Return the perturbation of a layer's weights: along the gradient, gamma of their norm long.

    What pruning masked stays masked.
    """
    if mask is not None:
        gradient = gradient * mask
    moved: Tensor = gamma * weight.detach().norm() / (gradient.norm() + 1e-12) * gradient
    return moved


class _Shifted(nn.Module):
    """A network at other weights or buffers; gradients of weights pass on to its own."""

    def __init__(self, network: nn.Module, weights: dict[str, Tensor]):
        super().__init__()
        self.network = network
        self._weights = weights

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes]."""
        logits: Tensor = functional_call(self.network, self._weights, (images,))
        return logits


@dataclass
class _Memory:
    """Images attacked at a network's own weights, kept so that the same are met again."""

    network: nn.Module
    training_attack: AttackFunction | None
    images: list[Tensor] = field(default_factory=list)
    _met: int = 0

    def record(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Attack, and keep what comes out."""
        del network
        if self.training_attack is None:
            raise ValueError("an objective that attacks needs a threat")
        self.images.append(self.training_attack(self.network, images, labels, kind))
        return self.images[-1]

    def replay(self, network: nn.Module, images: Tensor, labels: Tensor, kind: str) -> Tensor:
        """Return what came out, in the same order."""
        del network, images, labels, kind
        self._met += 1
        return self.images[self._met - 1]
