"""Networks as safetensors: weights under the architecture's own names, and their description."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from prune_core.errors import ExportError
from prune_core.exports.description import Description
from prune_core.models import architectures
from prune_core.models.classifier import Classifier
from prune_core.models.state import load_tensors
from prune_core.pruning import prune as pruning
from prune_core.pruning.prunable.masks import hold, masked

METADATA = "mrsweep"
"""The name of the description, in the metadata of files of every format."""


def merge_masks(network: nn.Module) -> None:
    """Make masks a part of the weights, in place: zeros stay, and nothing holds them any more."""
    layers = masked(network)
    hold(layers)
    for layer in layers:
        del layer.mask


def weights_of(network: Classifier) -> dict[str, Tensor]:
    """Return a network's tensors under its architecture's own names, on the CPU.

    Its normalisation is in the description. Weights that two layers share are there twice.
    """
    state = network.network.state_dict()
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}


def write(network: Classifier, description: Description, file: Path) -> None:
    """Write a network and its description as one safetensors file."""
    metadata = {"format": "pt", METADATA: description.model_dump_json()}
    file.write_bytes(save(weights_of(network), metadata))


def read_description(file: Path) -> Description:
    """Return what a file says of its network.

    Raises:
        ExportError: It is no safetensors file, or none that mrsweep wrote.
    """
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{file} cannot be read: {error}") from error
    if METADATA not in metadata:
        raise ExportError(
            f"{file} does not say what network it is of: only files that `mrsweep network` wrote "
            "are built from the file alone; for others, see dense.checkpoint"
        )
    try:
        return Description.model_validate(json.loads(metadata[METADATA]))
    except ValueError as error:
        raise ExportError(f"{file} is described in a way not known here: {error}") from error


def read(file: Path) -> tuple[Classifier, Description]:
    """Build a network from its file alone, in eval mode, on the CPU.

    Raises:
        ExportError: As `read_description`.
        UnknownMethodError: Its architecture is code of the user's that is not here.
    """
    description = read_description(file)
    network = architectures.build(
        description.architecture,
        description.shape,
        description.classes,
        description.mean,
        description.std,
        seed=0,
    )
    if description.structure is not None and description.granularity is not None:
        pruning.rebuild(network, description.shape, description.granularity, description.structure)
    load_tensors(network.network, load_file(file))
    network.eval()
    return network, description
