"""Networks as graphs that run without their code: torch.export's and ONNX's."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from prune_core.errors import ExportError
from prune_core.exports.description import Description
from prune_core.exports.files import METADATA
from prune_core.models.classifier import Classifier

Predictor = Callable[[Tensor], Tensor]
"""From images [n, c, h, w] in [0,1] to logits [n, classes]."""
CLOSE = 1e-4
"""What logits may differ by, as a share of the largest where that is over 1."""
INPUT, OUTPUT = "images", "logits"


def _traced(network: Classifier, description: Description) -> ExportedProgram:
    """Trace a network for any number of images.

    Raises:
        ExportError: Its code cannot be traced.
    """
    try:
        return torch.export.export(
            network, (_examples(description, 2),), dynamic_shapes=({0: torch.export.Dim("n")},)
        )
    except Exception as error:  # the network may be the user's, and torch's errors are many
        raise ExportError(
            f"torch.export cannot trace {description.architecture}: {error}"
        ) from error


def _examples(description: Description, count: int) -> Tensor:
    return torch.rand(count, *description.shape, generator=torch.Generator().manual_seed(0))


def write_program(network: Classifier, description: Description, file: Path) -> None:
    """Write a network as torch.export's program; `torch.export.load(FILE).module()` runs it."""
    facts = {f"{METADATA}.json": description.model_dump_json()}
    torch.export.save(_traced(network, description), file, extra_files=facts)


def read_program(file: Path) -> Predictor:
    """Return what a program computes."""
    return torch.export.load(file).module()


def write_onnx(network: Classifier, description: Description, file: Path) -> None:
    """Write a network as ONNX, and compare it with the network in onnxruntime.

    Raises:
        ExportError: The extra is not installed, the network cannot be traced, or logits differ.
    """
    if missing := [name for name in ("onnx", "onnxscript", "onnxruntime") if not find_spec(name)]:
        raise ExportError(f"ONNX needs {', '.join(missing)}: pip install 'mrsweep[onnx]'")
    program = torch.onnx.export(
        _traced(network, description),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise ExportError(f"torch.onnx gives no program of {description.architecture}")
    program.model.metadata_props[METADATA] = json.dumps(description.model_dump(mode="json"))
    program.save(file, external_data=False)
    images = _examples(description, 16)
    with torch.no_grad():
        wanted = network(images)
    apart = float((read_onnx(file)(images) - wanted).abs().max())
    if not apart <= CLOSE * max(1.0, float(wanted.abs().max())):
        raise ExportError(f"in onnxruntime logits differ by {apart:.2g}; at most {CLOSE} may be")


def read_onnx(file: Path) -> Predictor:
    """Return what an ONNX file computes, in onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def predict(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.cpu().numpy()})[0])

    return predict
