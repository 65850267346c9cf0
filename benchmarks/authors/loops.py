"""What surrounds the objectives of a training, beside authors' code: its attack, its average."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from authors import CPU, Row, apart, functions_of
from authors.objectives import IMPORTS, MODERN, STEPS, THREAT, Batch, batch_of_digits
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.training.averaging import Average
from prune_core.training.training_attack import TrainingAttack


def attacks(originals: Path) -> Iterator[Row]:
    """Attacks in training mode from the same start: PGD's, FGSM's and distillation's."""
    file = originals / "robust_overfitting" / "train_cifar.py"
    theirs = functions_of(file, IMPORTS, MODERN)
    theirs.__dict__.update(
        clamp=lambda x, low, high: torch.max(torch.min(x, high), low),
        normalize=lambda x: x, lower_limit=torch.zeros(()), upper_limit=torch.ones(()),
    )  # fmt: skip
    batch = batch_of_digits()
    for objective, steps, size in (("pgd", 10, 0.25), ("fgsm", 1, 1.25)):
        recipe = Training(
            objective=objective, epochs=1, attack_step=size, attack_mode="train"
        ).resolved()
        network = copy.deepcopy(batch.network).train()
        with seeded(0, CPU):
            delta = theirs.attack_pgd(
                network, batch.images, batch.labels, THREAT.eps, size * THREAT.eps, steps, 1,
                "l_inf",
            )  # fmt: skip
        yield f"{objective}: pixels attacked alike", _alike(batch, recipe, batch.images + delta)
    file = originals / "AdversariallyRobustDistillation" / "main.py"
    noise = "uniform_(-self.epsilon, self.epsilon)"
    recipe = Training(objective="ard", epochs=1).resolved()
    for word, changes in (
        ("", {}),
        (", their start clipped", {noise: f"{noise}.add(x).clamp(0, 1).sub(x)"}),
    ):
        distilled = functions_of(file, IMPORTS, {**MODERN, **changes})
        with seeded(0, CPU):
            _, attacked = distilled.AttackPGD(copy.deepcopy(batch.network).train(), STEPS)(
                batch.images, batch.labels
            )
        yield f"ard: pixels attacked alike{word}", _alike(batch, recipe, attacked)


def _alike(batch: Batch, recipe: Training, theirs: Tensor) -> str:
    network = copy.deepcopy(batch.network).train()
    attack = TrainingAttack(network, recipe, THREAT)
    with seeded(0, CPU):
        mine = attack(network, batch.images, batch.labels, "pgd")
    return f"{float(((mine - theirs).abs() < 1e-5).float().mean()):.4f}"


def averages(originals: Path) -> Iterator[Row]:
    """The exponential average, beside a reimplementation of Gowal et al.'s training."""
    folder = originals / "adversarial_robustness_pytorch" / "gowal21uncovering" / "utils"
    theirs = functions_of(folder / "watrain.py", IMPORTS, {"(Trainer)": "(object)"})
    batch = batch_of_digits()
    network = copy.deepcopy(batch.network)
    ours = Average(network, Training(epochs=1, averaging="ema", ema_decay=0.995).resolved())
    draw = torch.Generator().manual_seed(0)
    other = copy.deepcopy(network)
    for step in range(3000):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=draw)
        ours.after_step(network)
        if step == 0:  # ours begins with the network after the first step
            other.load_state_dict(network.state_dict())
        else:
            theirs.ema_update(other, network, step, decay_rate=0.995)
    pairs = zip(ours.network(network).parameters(), other.parameters(), strict=True)
    yield (
        "ema: largest relative difference of a tensor after 3,000 steps",
        (f"{max(apart(p, q) for p, q in pairs):.1e}"),
    )
