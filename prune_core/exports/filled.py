"""Channel-pruned networks in the shape that they had: what was removed comes back as zeros."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prune_core.errors import ExportError
from prune_core.models.classifier import Classifier
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import Shape, Structure


def filled(whole: Classifier, pruned: Classifier, shape: Shape, structure: Structure) -> Classifier:
    """Return a network of the dense shape that computes what a channel-pruned one does.

    Args:
        whole: The architecture as built; it stays as it is.
        pruned: The network without some channels.
        shape: The shape of an image.
        structure: The channels that each module keeps.

    Raises:
        ExportError: Zeros in place of channels change what it computes, as under a LayerNorm.
    """
    places = _numbered(whole, shape, structure)
    whole = copy.deepcopy(whole).to(pruned.normalise.mean.device)
    taken, filling = pruned.state_dict(), whole.state_dict()
    for name, tensor in filling.items():
        empty = torch.zeros_like(tensor).flatten()
        empty[places[name].flatten()] = taken[name].flatten()
        tensor.copy_(empty.view_as(tensor))
    for name, layer in whole.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_var is not None:
            gone = torch.ones_like(layer.running_var, dtype=torch.bool)
            gone[places[f"{name}.running_var"]] = False
            layer.running_var[gone] = 1.0  # as a new layer has it: nothing divides by zero
    images = torch.rand(8, *shape, generator=torch.Generator().manual_seed(0))
    with evaluating(whole), evaluating(pruned), torch.no_grad():
        images = images.to(pruned.normalise.mean.device)
        apart = float((whole(images) - pruned(images)).abs().max())
    if not apart < 1e-3:
        raise ExportError(
            f"with zeros for its removed channels the network's logits differ by {apart:.2g}: "
            "layers that normalise over channels see them; write it as it is"
        )
    return whole.eval()


def _numbered(whole: nn.Module, shape: Shape, structure: Structure) -> dict[str, Tensor]:
    """Return, for every number that pruning leaves, its place in the dense network's tensor.

    A copy of the network whose numbers are their own places is cut as the network was.
    """
    copied = copy.deepcopy(whole)
    view = prunable_view(copied, shape, "channel")
    copied.double()  # in which the places in tensors of any size are exact
    for tensor in copied.state_dict().values():
        tensor.copy_(torch.arange(tensor.numel()).view_as(tensor))
    view.remove(structure)
    return {name: tensor.long() for name, tensor in copied.state_dict().items()}
