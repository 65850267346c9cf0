"""Files of weights from outside: read without running code, and loaded strictly."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from prune_core.errors import CheckpointError
from prune_core.models.classifier import Classifier
from prune_core.models.state import load_tensors
from prune_core.specs.checkpoints import Checkpoint, located
from prune_core.specs.keys import file_digest

log = logging.getLogger(__name__)

HOLDERS = ("state_dict", "model_state_dict", "net", "model", "network", "params", "weights")
"""Where a training's file holds the weights, beside its optimizer and epoch."""
PREFIXES = ("module.", "model.", "network.", "net.", "_orig_mod.", "state_dict.")
"""What wrappers put before every name: data parallelism, compilation, a training's own module."""
AVERAGED = "n_averaged"
"""What torch's own averages of weights (AveragedModel) count, beside the network."""
NAMED = 5
"""So many of the names that do not match are written out."""


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of weights by name, on the CPU.

    Args:
        file: A safetensors file, or a PyTorch file that holds tensors and plain values alone.

    Raises:
        CheckpointError: It cannot be read, would need code to be read, or holds no weights.
    """
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of others may raise anything
        raise CheckpointError(_unreadable(file, error)) from error
    tensors = _held(held, file)
    if not tensors:
        raise CheckpointError(
            f"{file} holds no weights by name, alone or under {', '.join(HOLDERS)}; it holds: "
            f"{_shown(held)}"
        )
    return tensors


def start(network: Classifier, checkpoint: Checkpoint) -> None:
    """Load a checkpoint into a network, in place; the normalisation before it stays.

    Raises:
        CheckpointError: The file is not the one that was planned with, or is of another network.
    """
    try:
        file = located(checkpoint.file)
    except OSError as error:
        raise CheckpointError(f"{checkpoint.file} cannot be had: {error}") from error
    if (found := file_digest(file)) != checkpoint.content:
        raise CheckpointError(
            f"{checkpoint.file} is {found or 'not there'}, and the plan is for "
            f"{checkpoint.content}: give every machine the same file"
        )
    load_weights(network.network, read_weights(file), checkpoint.file, checkpoint.fresh or ())


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], file: str, fresh: Sequence[str] = ()
) -> None:
    """Load weights into a network, in place: every one of both sides, and none besides.

    Args:
        network: Without the normalisation before it.
        tensors: The weights by name; prefixes that all names share are taken off.
        file: Where they are from, for errors.
        fresh: Layers, or parts of the network, that stay as they are; the file may have others.

    Raises:
        CheckpointError: Names, shapes or kinds of numbers differ, or some are not finite; it names
            the first.
    """
    whole = network.state_dict()
    given = _unwrapped(tensors, whole)
    given = {name if name in whole else _todays(name): t for name, t in given.items()}
    if unknown := [part for part in fresh if not any(map(_in(part), (*whole, *given)))]:
        raise CheckpointError(
            f"fresh {', '.join(unknown)}: neither network nor file has such layers"
        )
    wanted, given = _without(whole, fresh), _without(given, fresh)
    # Files from before BatchNorm counted its batches have none of these.
    counted = {name for name in wanted if name.endswith(".num_batches_tracked")}
    faults = [
        _side("the file lacks", [name for name in wanted if name not in {*given, *counted}]),
        _side("it has besides", [name for name in given if name not in wanted]),
        _side(
            "shapes differ",
            [
                f"{name} {list(given[name].shape)} in the file, {list(wanted[name].shape)} here"
                for name in wanted
                if name in given and given[name].shape != wanted[name].shape
            ],
        ),
    ]
    if found := [fault for fault in faults if fault]:
        raise CheckpointError(f"{file} is of another network: {'; '.join(found)}")
    odd = {
        name: why for name in wanted if (why := _oddity(given.get(name, whole[name]), whole[name]))
    }
    if odd:
        named = _side("", [f"{name} ({why})" for name, why in odd.items()])
        raise CheckpointError(f"{file} holds what are no weights:{named}; write finite floats")
    load_tensors(network, {name: given.get(name, whole[name]) for name in whole})


def _held(held: Any, file: Path) -> dict[str, Tensor]:
    """Return the weights of what a file holds; nothing where there are none."""
    if not isinstance(held, Mapping):
        return {}
    for name in HOLDERS:
        if isinstance(chosen := held.get(name), Mapping):
            alike = (each for each in held if each != name and isinstance(held[each], Mapping))
            if others := [str(each) for each in alike if held[each].keys() == chosen.keys()]:
                log.warning("%s: weights under %s are read, and not %s", file, name, others)
            return _held(chosen, file)
    whole = held and all(isinstance(each, Tensor) for each in held.values())
    return {str(name): tensor for name, tensor in held.items()} if whole else {}


def _shown(held: Any) -> str:
    """Return what a file holds that are no weights by name."""
    if not isinstance(held, Mapping):
        return type(held).__name__
    others = [str(name) for name, each in held.items() if not isinstance(each, Tensor)]
    besides = f"{len(held) - len(others)} tensors, and besides" if len(others) < len(held) else ""
    return _side(besides, others).strip() or "nothing"


def _oddity(given: Tensor, wanted: Tensor) -> str | None:
    """Say what keeps a tensor from being weights; None where nothing does."""
    if given.layout != torch.strided or given.is_quantized or given.is_meta:
        return "without data" if given.is_meta else "sparse or quantized"
    if wanted.is_floating_point() != given.is_floating_point():
        return f"{given.dtype}, where the network has {wanted.dtype}".replace("torch.", "")
    broken = int((~given.float().isfinite()).sum()) if given.is_floating_point() else 0
    return f"{broken} of {given.numel()} are not finite" if broken else None


def _unwrapped(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take off prefixes that all names share, as long as they are not the network's own."""
    given = dict(tensors)
    if AVERAGED not in wanted:
        given.pop(AVERAGED, None)
    while not set(given) & set(wanted):
        shared = next((p for p in PREFIXES if all(name.startswith(p) for name in given)), None)
        if shared is None or not given:
            break
        given = {name.removeprefix(shared): tensor for name, tensor in given.items()}
    return given


def _todays(name: str) -> str:
    """Return a name without the dots that layers of torchvision's DenseNets had in theirs."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", name)


def _in(part: str) -> Callable[[str], bool]:
    """Return what says whether a name is a part of a network, or in it."""
    return lambda name: f"{name}.".startswith(f"{part}.")


def _without(tensors: Mapping[str, Tensor], parts: Sequence[str]) -> dict[str, Tensor]:
    """Return what is in no one of some parts of a network."""
    inside = [_in(part) for part in parts]
    return {n: tensor for n, tensor in tensors.items() if not any(of(n) for of in inside)}


def _side(what: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{what} {', '.join(names[:NAMED])}{more}" if names else ""


def _unreadable(file: Path, error: Exception) -> str:
    if code := re.search(r"GLOBAL (\S+)", str(error)):
        return (
            f"{file} holds more than weights: reading it would run code ({code[1]}); where you "
            "trust it, write the weights alone: held = torch.load(FILE, weights_only=False); "
            "torch.save(held['state_dict'], 'weights.pt'), or whatever in it has the weights"
        )
    said = str(error).partition("\n")[0][:200]
    return f"{file} is no file of weights: {type(error).__name__}: {said}"
