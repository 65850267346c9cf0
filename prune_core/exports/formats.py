"""The formats by name: how a network is written into a folder, and read back to be checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prune_core.exports import files, graphs, hub
from prune_core.exports.description import Description
from prune_core.exports.graphs import Predictor
from prune_core.exports.staging import staged
from prune_core.models.classifier import Classifier


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        file: What the weights' file is called.
        write: Writes network and description; to a file, or into a folder.
        read: Returns what the file computes.
        whole: Whether it gets a folder to write into, not a file.
    """

    file: str
    write: Callable[[Classifier, Description, Path], None]
    read: Callable[[Path], Predictor]
    whole: bool = False


def _rebuilt(file: Path) -> Predictor:
    return files.read(file)[0]


FORMATS = {
    "safetensors": Format("network.safetensors", files.write, _rebuilt),
    "onnx": Format("network.onnx", graphs.write_onnx, graphs.read_onnx),
    "torch-export": Format("network.pt2", graphs.write_program, graphs.read_program),
    "hf": Format(hub.WEIGHTS, hub.write, _rebuilt, whole=True),
}


def write(network: Classifier, description: Description, name: str, folder: Path) -> Path:
    """Write a network in a format; return the file of its weights.

    Args:
        network: In eval mode, on the CPU.
        description: What is said of it.
        name: Of the format.
        folder: Where to; it is made. Files of the same name are replaced, once all are written.

    Raises:
        ExportError: It cannot be written so, or the folder cannot be written to; nothing is left.
    """
    chosen = FORMATS[name]
    with staged(folder) as stage:
        chosen.write(network, description, stage if chosen.whole else stage / chosen.file)
    return folder / chosen.file
