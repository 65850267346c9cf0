"""SynFlow: units go in rounds, those first that add least to the flow through the network.

Source:
    Tanaka et al., 2020 (arXiv 2006.05467), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prune_core.models.state import copied
from prune_core.pruning.prunable.groups import PrunableModule, Shape

ROUNDS = 100
"""The authors' number of rounds."""


def removal_order(
    network: nn.Module, modules: Sequence[PrunableModule], shape: Shape, keep: float, rounds: int
) -> dict[str, Tensor]:
    """Return the order in which SynFlow removes units, from whatever module.

    A unit's score is its share of the flow, the mean over the layers that make or read it. Round r
    leaves the best ``keep ** (r / rounds)`` of all units, and the next one looks at what is left.
    Those that are left in the end come last, by their scores in the last round.

    Args:
        network: It stays as it is.
        modules: Those that are to be pruned.
        shape: The shape of an image.
        keep: The share of all units that the last round leaves.
        rounds: The number of rounds.

    Returns:
        By module, the share of all units that go before each [units].
    """
    flow = _Flow(network, modules, shape)
    alive = torch.ones(sum(module.units for module in modules), dtype=torch.bool)
    order: list[Tensor] = []
    for number in range(1, rounds + 1):
        scores = flow.scores()
        alive = alive.to(scores.device)
        count = int((1 - keep ** (number / rounds)) * len(alive))
        if count:
            going = alive & (scores <= scores.kthvalue(count).values)
            order.append(_ascending(scores, going))
            alive &= ~going
            flow.close(alive)
    order.append(_ascending(scores, alive))
    every = torch.cat(order)
    place = torch.empty(len(every), dtype=torch.double, device=every.device)
    place[every] = torch.arange(len(every), device=every.device).double() / len(every)
    parts = torch.split(place, [module.units for module in modules])
    return {module.name: part for module, part in zip(modules, parts, strict=True)}


class _Flow:
    """The flow: the sum of logits for an image of ones, in a network of absolute numbers.

    All of them, as the authors have it: weights, biases and statistics. In double precision.
    """

    def __init__(self, network: nn.Module, modules: Sequence[PrunableModule], shape: Shape):
        self._network = copied(network).double().eval()
        for tensor in (*self._network.parameters(), *self._network.buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.detach().abs()
        self._modules = modules
        layers = {m.layer for module in modules for m in module.members if m.side != "norm"}
        self._weights = {name: self._network.get_parameter(f"{name}.weight") for name in layers}
        device = next(iter(self._weights.values())).device
        self._ones = torch.ones(1, *shape, dtype=torch.double, device=device)

    def scores(self) -> Tensor:
        """Return the score of every unit of every module, one after the other."""
        with torch.enable_grad():
            gradients = torch.autograd.grad(
                self._network(self._ones).sum(),
                list(self._weights.values()),
                materialize_grads=True,
            )
        shares = {
            name: (weight.detach() * gradient).abs()
            for (name, weight), gradient in zip(self._weights.items(), gradients, strict=True)
        }
        return torch.cat([self._of_module(module, shares) for module in self._modules])

    def _of_module(self, module: PrunableModule, shares: dict[str, Tensor]) -> Tensor:
        members = [member for member in module.members if member.side != "norm"]
        return torch.stack([m.rows(shares[m.layer]).sum(1) for m in members]).mean(0)

    @torch.no_grad()
    def close(self, alive: Tensor) -> None:
        """Set what reads a unit to zero, except of those that are alive."""
        parts = torch.split(alive, [module.units for module in self._modules])
        for module, gate in zip(self._modules, parts, strict=True):
            for member in module.readers():
                weight = self._weights[member.layer]
                weight.copy_(member.gated(weight, gate.to(weight)))


def _ascending(scores: Tensor, chosen: Tensor) -> Tensor:
    """Return the positions of chosen units, the lowest score first."""
    positions = chosen.nonzero().flatten()
    return positions[scores[positions].argsort(stable=True)]
