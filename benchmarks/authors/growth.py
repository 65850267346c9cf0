"""Growth beside authors' code: one change of all masks, at equal weights, gradients, momentum."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from authors import CPU, Row, functions_of
from authors.objectives import MODERN
from authors.scores import built, digits
from prune_core.models.state import seeded
from prune_core.pruning.prunable.masks import attach, hold, mask_of, masked
from prune_core.specs.recipes import Growth
from prune_core.specs.registry import POLICIES
from prune_core.training.growth import Rewiring, Rule, by_gradient, dropped_share
from prune_core.training.policies import Start

STEPS, AT = 1000, 300
"""Of a training, and the one at which masks change."""
RIGL = """
import tensorflow as tf
from types import SimpleNamespace
utils = SimpleNamespace(PRUNING_WRAPPER=object)
gin = SimpleNamespace(configurable=lambda *names, **how: lambda function: function)
"""
BIRD = "import copy, math\nimport numpy as np\nimport torch\nfrom torch import nn, optim"


def rigl(originals: Path) -> Iterator[Row]:
    """RigL's updater in TensorFlow 2, which must be installed."""
    theirs = functions_of(
        originals / "rigl" / "rigl" / "rigl_tf2" / "mask_updaters.py",
        RIGL,
        {"keras.experimental.CosineDecay": "keras.optimizers.schedules.CosineDecay"},
    )
    tf, rule = theirs.tf, _rule("rigl")
    end = int(rule.settings.stop_growing * STEPS)
    schedule = theirs.CosineUpdateSchedule(None, rule.settings.drop_share, 100, end)
    share = float(schedule.get_drop_fraction(AT))
    yield (
        "rigl: share to drop, ours less theirs",
        f"{dropped_share(rule, AT / end) - share:.0e}",
    )

    def update(weight: Tensor, mask: Tensor, momentum: Tensor, gradient: Tensor) -> list[Tensor]:
        slots = {"momentum": tf.Variable(momentum.numpy())}
        optimizer = SimpleNamespace(
            get_slot_names=lambda: slots, get_slot=lambda _weight, name: slots[name]
        )
        updater = theirs.RigL(None, optimizer)
        values = tf.Variable(weight.numpy()), tf.Variable(mask.float().numpy())
        [drop] = updater.get_drop_scores([values[0]], [values[1]])
        updater.generic_mask_update(values[1], values[0], drop, tf.abs(gradient.numpy()), share)
        kept = values[1].numpy()
        after = (kept, values[0].numpy() * kept, slots["momentum"].numpy() * kept)
        return [torch.from_numpy(value) for value in after]

    yield from _beside("rigl", rule, update)


def flying_bird(originals: Path) -> Iterator[Row]:
    """Flying Bird's masking; what it draws is compared in number, what gradients grow exactly."""
    theirs = functions_of(
        originals / "Sparsity-Win-Robust-Generalization" / "sparselearning" / "core.py",
        BIRD,
        {**MODERN, "new_mask.byte()": "new_mask.bool()"},
    )
    rule = _rule("flying-bird")
    decay = theirs.CosineDecay(rule.settings.drop_share, STEPS)
    for _ in range(AT):
        decay.step()
    share = decay.get_dr(None)
    yield (
        "flying-bird: share to drop, ours less theirs",
        f"{dropped_share(rule, AT / STEPS) - share:.0e}",
    )

    def masking(mode: str, weight: Tensor, mask: Tensor, momentum: Tensor, slope: Tensor) -> Any:
        args = SimpleNamespace(
            prune_ratio=0.4, growth_ratio=0.05, update_threshold=0.5, dynamic_sparse=False
        )
        module = nn.Module()
        module.register_parameter("weight", nn.Parameter(weight.clone()))
        module.weight.grad = slope
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        optimizer.state[module.weight]["momentum_buffer"] = momentum * mask
        found = theirs.Masking(optimizer, death_rate=share, growth_mode=mode, args=args)
        found.modules, found.masks = [module], {"weight_0": mask.float()}
        found.init_death_rate(share)
        found.truncate_weights()
        return found

    def update(*layer: Tensor) -> list[Tensor]:
        found = masking("gradient", *layer)
        [weight] = found.modules[0].parameters()
        moment = found.optimizer.state[weight]["momentum_buffer"]
        return [found.masks["weight_0"], weight.detach(), moment]

    grown = Rule(rule.settings, by_gradient, rule.whole, rule.least)
    yield from _beside("flying-bird, were it to grow by gradients", grown, update)
    with seeded(1, CPU):  # not the numbers that drew the masks
        ratios = [
            float(masking("random", *layer).masks["weight_0"].sum() / layer[1].sum())
            for layer in _layers(*_network())
        ]
    yield (
        "flying-bird: weights that theirs leaves a layer, over those before",
        f"{min(ratios):.3f} to {max(ratios):.3f}",
    )


def _rule(policy: str) -> Rule:
    declared = Growth.model_validate(POLICIES[policy].settings)
    rule = POLICIES.load(policy)(nn.Identity(), Start(0, growth=declared))
    if not isinstance(rule, Rule):
        raise TypeError(f"policy {policy!r} changes no masks")
    return rule


def _network() -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a trained ResNet-8 with a random fifth of its weights, after two steps."""
    network, data = built(), digits()
    draw = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            attach(layer, torch.rand(layer.weight.shape, generator=draw) < 0.2)
    hold(masked(network))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for start in (0, 128):
        images, labels = data.train.batch(slice(start, start + 128))
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
        hold(masked(network))
    return network, optimizer


def _layers(network: nn.Module, optimizer: torch.optim.Optimizer) -> list[tuple[Tensor, ...]]:
    """Return every masked layer's weights, mask, momentum and gradient."""
    weights = [layer.get_parameter("weight") for layer in masked(network)]
    return [
        (w.detach(), mask_of(layer), optimizer.state[w]["momentum_buffer"], w.grad)
        for w, layer in zip(weights, masked(network), strict=True)
        if w.grad is not None
    ]


def _beside(name: str, rule: Rule, update: Callable[..., list[Tensor]]) -> Iterator[Row]:
    network, optimizer = _network()
    theirs = [update(*copy.deepcopy(layer)) for layer in _layers(network, optimizer)]
    before = [mask.clone() for _, mask, _, _ in _layers(network, optimizer)]
    Rewiring(network, optimizer, rule, STEPS, "key").apply(AT)
    ours = _layers(network, optimizer)
    pairs = list(zip(ours, theirs, strict=True))
    moved = sum(int((m & ~old).sum()) for (_, m, _, _), old in zip(ours, before, strict=True))
    equal = [
        sum(int((mine != other).sum()) for mine, other in values)
        for values in (
            [(mask.float(), their[0]) for (_, mask, _, _), their in pairs],
            [(weight, their[1]) for (weight, _, _, _), their in pairs],
            [(moment * mask, their[2]) for (_, mask, moment, _), their in pairs],
        )
    ]
    yield f"{name}: masks, weights, momentum that differ, of {moved} that grew", str(equal)
