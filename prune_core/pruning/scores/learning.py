"""Learned scores: trained by gradient descent on the loss of the network that they prune.

The weights stay as they are; of every module the units with the highest scores are kept, and the
gradient passes straight through to the scores of all units. `learned_scores` is a cheap form of our
own, on the calibration images alone. HYDRA itself, which trains for epochs over all images, is
`prune_core.training.hydra`, for it is a training.

Source:
    Sehwag et al., 2020 (HYDRA, arXiv 2002.10509).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prune_core.attacks.pgd import pgd
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.specs.keys import derive_seed
from prune_core.specs.stages import Finetuned, Scores

EPOCHS, LEARNING_RATE = 20, 0.03
"""Passes over the calibration images, and the peak learning rate."""


def learned_scores(
    network: nn.Module,
    modules: Sequence[PrunableModule],
    batches: Sequence[tuple[Tensor, Tensor]],
    stage: Scores,
    attack_steps: int,
) -> dict[str, Tensor]:
    """Train a score of every unit on the loss of the network that it prunes.

    Args:
        network: It is left as it was.
        modules: Those that are to be pruned.
        batches: Clean images [n, c, h, w] in [0,1] and their labels [n].
        stage: What is asked for; where it has a threat, the images are attacked in every step.
        attack_steps: The steps of that attack.

    Returns:
        Scores by module [units].
    """
    removed = share_removed(stage)
    scores = {module.name: first_scores(network, module) for module in modules}
    steps = EPOCHS * len(batches)
    optimizer = torch.optim.SGD(scores.values(), lr=LEARNING_RATE, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    device = batches[0][1].device
    start = torch.Generator(device).manual_seed(derive_seed(stage.key, "learning attack"))
    with evaluating(network):
        for step in range(steps):
            images, labels = batches[step % len(batches)]
            gated = Gated(network, modules, scores, dict.fromkeys(scores, removed))
            if stage.threat is not None:
                images = pgd(gated, images, labels, stage.threat, attack_steps, start)
            with torch.enable_grad():
                loss = F.cross_entropy(gated(images), labels)
                gradients = torch.autograd.grad(loss, list(scores.values()))
            for score, gradient in zip(scores.values(), gradients, strict=True):
                # Scores are of size 1 whatever the layer; so are gradients now. Of many scores
                # only those near the threshold are to move, so they take smaller steps.
                size = gradient.abs().mean().clamp_min(1e-30)
                score.grad = gradient / size / score.numel() ** 0.25
            optimizer.step()
            schedule.step()
    return {name: score.detach() for name, score in scores.items()}


def share_removed(stage: Scores) -> float:
    """Return the share of units that is gone at the sparsity that scores are computed for.

    Raises:
        ValueError: Where the stage does not say which it is.
    """
    if stage.sparsity is None:
        raise ValueError(f"criterion {stage.criterion!r} needs the sparsity that it is for")
    if stage.unit == "weight":
        return stage.sparsity
    before = stage.network.pruned.sparsity if isinstance(stage.network, Finetuned) else 0.0
    # A channel less is a row less here and a column less there.
    return 1 - float(((1 - stage.sparsity) / (1 - before)) ** 0.5)


def first_scores(network: nn.Module, module: PrunableModule) -> Tensor:
    """Return scores to start from: norms of the weights over the largest [units]."""
    total = torch.zeros(module.units, device=next(network.parameters()).device)
    for member in module.members:
        if member.side != "norm":
            rows = member.rows(network.get_parameter(f"{member.layer}.weight").detach())
            total += rows.square().sum(1)
    norms = total.sqrt()
    return (norms / norms.max().clamp_min(1e-30)).requires_grad_()


class Gated(nn.Module):
    """A network in which every module is without a share of its units: those of lowest scores."""

    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[PrunableModule],
        scores: Mapping[str, Tensor],
        removed: Mapping[str, float | Tensor],
    ):
        super().__init__()
        self.__dict__["network"] = network  # not a child: its mode is not this module's
        self._modules_, self._scores, self._removed = modules, scores, removed

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of the network without the units that are gated off."""
        return gated_logits(
            self.__dict__["network"], self._modules_, self._scores, self._removed, images
        )


def gated_logits(
    network: nn.Module,
    modules: Sequence[PrunableModule],
    scores: Mapping[str, Tensor],
    removed: Mapping[str, float | Tensor],
    images: Tensor,
) -> Tensor:
    """Return the logits of a network without the units of lowest scores; see `Gated`.

    Gradients reach the scores, the shares that are tensors, and what of the network holds no weight
    that is gated.
    """
    weights: dict[str, Tensor] = {}
    for module in modules:
        gate = _Straight.apply(scores[module.name], removed[module.name])
        for member in module.readers():  # what reads a channel is closed; a weight itself
            name = f"{member.layer}.weight"
            weight = weights.get(name, network.get_parameter(name).detach())
            weights[name] = member.gated(weight, gate)
    logits: Tensor = functional_call(network, weights, (images,))
    return logits


class _Straight(torch.autograd.Function):
    """Zero for the lowest scores, one for the others; the gradient passes as through identity.

    A share removed that is a tensor gets its gradient as if it were taken from every gate.
    """

    @staticmethod
    def forward(ctx: object, scores: Tensor, removed: float | Tensor) -> Tensor:
        del ctx
        gate = torch.zeros_like(scores)
        gate[scores.topk(units_kept(scores, removed), sorted=False).indices] = 1
        return gate

    @staticmethod
    def backward(
        ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        return gradient, -gradient.sum() if ctx.needs_input_grad[-1] else None


def units_kept(scores: Tensor, removed: float | Tensor) -> int:
    """Return how many of a module's units [units] are left without a share; one at least."""
    return max(1, scores.numel() - int(removed * scores.numel()))
