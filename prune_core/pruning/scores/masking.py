"""Masking adversarial damage (MAD): what the loss of attacked images would change by a weight.

A mask over all weights and biases, from 0 to 1, is fitted to a batch of attacked images; what it
takes from the weights is their damage. The saliency of a weight is its part in the second-order
change of the loss by that damage. The Hessian is K-FAC's: a product of the inputs' second moment
and of the output gradients', of which only the diagonal is kept, so that the weights of one output
form a block.

Source:
    Lee et al., 2022 (arXiv 2204.02738), and github.com/ByungKwanLee/Masking-Adversarial-Damage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from prune_core.models.state import evaluating

STEPS, RATE = 20, 0.1
"""Steps of Adam that fit the mask to a batch, and their rate; the authors'."""
LOWEST, HIGHEST = (math.log(math.expm1(value)) for value in (1e-4, 1.0))
"""What a softplus makes 0.0001 and 1 of: the bounds of a mask, which starts at 1."""


def adversarial_saliency(
    network: nn.Module, layers: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """Return the saliency of every weight, mean over batches, shaped as the layer's weight.

    Args:
        network: It is left as it was.
        layers: The names of its convolutions and linear layers.
        batches: Attacked images [n, c, h, w] in [0,1] and their labels [n].
    """
    parameters = {
        f"{layer}.{name}": parameter.detach()
        for layer in layers
        for name, parameter in network.get_submodule(layer).named_parameters(recurse=False)
    }
    total = {name: torch.zeros_like(parameters[f"{name}.weight"]) for name in layers}
    with evaluating(network), torch.enable_grad():
        for images, labels in batches:
            masked = _masked(parameters, _fitted(network, parameters, images, labels))
            for name, saliency in _saliency(network, parameters, masked, images, labels):
                total[name] += saliency / len(batches)
    return total


def _masked(parameters: dict[str, Tensor], mask: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value * F.softplus(mask[name]) for name, value in parameters.items()}


def _fitted(
    network: nn.Module, parameters: dict[str, Tensor], images: Tensor, labels: Tensor
) -> dict[str, Tensor]:
    """Return the mask that lowers the loss of a batch, before its softplus."""
    mask = {
        name: torch.full_like(value, HIGHEST).requires_grad_() for name, value in parameters.items()
    }
    optimizer = torch.optim.Adam(mask.values(), lr=RATE)
    for _ in range(STEPS):
        logits = functional_call(network, _masked(parameters, mask), (images,))
        gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(mask.values()))
        for value, gradient in zip(mask.values(), gradients, strict=True):
            value.grad = gradient
        optimizer.step()
        for value in mask.values():
            value.data.clamp_(LOWEST, HIGHEST)
    return {name: value.detach() for name, value in mask.items()}


def _saliency(
    network: nn.Module,
    parameters: dict[str, Tensor],
    masked: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
) -> Iterator[tuple[str, Tensor]]:
    """Give each layer's name with the saliency of its weights on a batch, block by block.

    The inputs' second moment times the damage is taken without the moment: it is the gradient of
    half the squared outputs that the damage alone would make.
    """
    calls: list[tuple[str, Tensor, Tensor]] = []
    layers = dict.fromkeys(name.rpartition(".")[0] for name in parameters)

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def note(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            calls.append((name, inputs[0].detach(), output))
            return output.clone()  # what follows may write into it

        return note

    hooks = [network.get_submodule(name).register_forward_hook(watch(name)) for name in layers]
    try:
        held = {name: value.requires_grad_() for name, value in masked.items()}
        loss = F.cross_entropy(functional_call(network, held, (images,)), labels)
    finally:
        for hook in hooks:
            hook.remove()
    gradients = torch.autograd.grad(loss, [made for *_, made in calls], materialize_grads=True)
    for (name, read, _), gradient in zip(calls, gradients, strict=True):
        layer = network.get_submodule(name)
        damage = {
            own: (parameters[f"{name}.{own}"] - held[f"{name}.{own}"]).detach().requires_grad_()
            for own, _ in layer.named_parameters(recurse=False)
        }
        energy = 0.5 * functional_call(layer, damage, (read,)).square().sum()
        (moved,) = torch.autograd.grad(energy, [damage["weight"]])
        rows = gradient if isinstance(layer, nn.Linear) else gradient.movedim(1, -1)
        squares = rows.flatten(0, -2).square().sum(0)
        places = gradient.numel() / len(squares) / len(labels)
        along = [1] * moved.dim()
        along[1 if getattr(layer, "transposed", False) else 0] = -1  # where its outputs are
        block = squares.view(along) / places
        yield name, 0.5 * block * damage["weight"].detach() * moved
