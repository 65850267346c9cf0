"""Output layers: those that make the logits, wherever a network registers them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from prune_core.errors import UnprunableError
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import Shape
from prune_core.pruning.prunable.layers import WEIGHTED

PRODUCTS = ("ConvolutionBackward", "AddmmBackward", "MmBackward", "BmmBackward")
"""What autograd calls the products that layers compute; what follows them keeps their channels."""
VIEWS = ("TBackward", "TransposeBackward", "PermuteBackward")
"""What may stand between a product and the weight of its layer."""

REFUSED = (
    "such a network cannot be pruned by channel (use granularity weight), nor under an allocation "
    "that spares the last layer"
)


def output_layers(network: nn.Module, shape: Shape) -> list[nn.Module]:
    """Return the convolutions and linear layers whose outputs are the logits, or their summands.

    They are found from the logits backwards: a layer counts if no other is between it and them.

    Args:
        network: The network; it stays as it is.
        shape: The shape of an image.

    Raises:
        UnprunableError: The logits are of no convolution and no linear layer.
    """
    layers = {id(m.weight): m for m in network.modules() if isinstance(m, WEIGHTED)}
    device = next(network.parameters()).device
    with evaluating(network), torch.enable_grad():
        logits = network(torch.zeros(1, *shape, device=device))
    outputs: dict[int, nn.Module] = {}
    stack, seen = [logits.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if not node.name().startswith(PRODUCTS):
            stack += [before for before, _ in node.next_functions]
            continue
        made = [layers[key] for key in map(id, _variables(node)) if key in layers]
        if not made:
            raise UnprunableError(
                "the logits are a product with weights that belong to no convolution and no linear "
                f"layer; {REFUSED}"
            )
        outputs |= {id(layer): layer for layer in made}
    if not outputs:
        raise UnprunableError(f"the logits come from no convolution and no linear layer; {REFUSED}")
    return list(outputs.values())


def _variables(node: Any) -> Iterator[torch.Tensor]:
    """Go through the parameters that a product reads, views between them left out."""
    for before, _ in node.next_functions:
        while before is not None and before.name().startswith(VIEWS):
            before = before.next_functions[0][0]
        if hasattr(before, "variable"):
            yield before.variable
