"""What a user's own network must be, whatever is done to it: built alike, of numbers, attackable.

These faults would show after hours of training, or not at all: as wrong numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from prune_core.models.folding import Twin
from prune_core.models.state import evaluating

Shape = tuple[int, int, int]
WITHOUT_GRADIENTS = re.compile(r"clean|square|corruption|.*:")
"""Attacks that may do without; a user's own may."""
CLOSE = 1e-3
"""The largest difference of an image's logits between two batches, as a share of the largest."""


def unsound(
    build: Callable[[], nn.Module], shape: Shape, classes: int, attacks: Sequence[str]
) -> str | None:
    """Say what is wrong with a network, if anything is.

    Args:
        build: Builds it anew, on the CPU, always at the same seed.
        shape: The shape of an image.
        classes: How many logits it must return.
        attacks: What its images will be attacked by.

    Raises:
        Exception: The network's own code may raise anything.
    """
    network, again = build(), build()
    fault = _of_other_numbers(network) or _not_kept(network) or _not_built_alike(network, again)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with evaluating(network), torch.no_grad():
        fault = fault or _by_batch(network, images, classes)
    return fault or _unattackable(network, images, attacks)


def logits_fault(logits: object, images: int, classes: int, when: str = "") -> str | None:
    """Say why something is not the logits of some images; ``when`` is put behind what it is."""
    wanted = f"it must return logits as one tensor [n, {classes}]"
    if not isinstance(logits, Tensor):
        return f"returns a {type(logits).__name__}{when}; {wanted}"
    if logits.shape != (images, classes):
        some = f"{images} image{'s' * (images > 1)}"
        return f"returns a tensor {list(logits.shape)} for {some}{when}; {wanted}"
    if not logits.is_floating_point() or logits.layout != torch.strided:
        kind = str(logits.dtype if logits.layout == torch.strided else logits.layout)
        return f"returns a tensor of {kind.removeprefix('torch.')}{when}; {wanted} of float32"
    return None


def _not_built_alike(network: nn.Module, again: nn.Module) -> str | None:
    """Compare two that were built at one seed: they must be equal, and nothing of both the same."""
    one, two = network.state_dict(), again.state_dict()
    for name, tensor in one.items():
        other = two.get(name)
        if not isinstance(tensor, Tensor) or not isinstance(other, Tensor):
            continue  # told otherwise
        if tensor.numel() and tensor.data_ptr() == other.data_ptr():
            return f"is built of {name} again and again: build its layers anew at every call"
        if not _equal(tensor, other):
            return (
                f"is built otherwise at the same seed ({name}): draw its numbers from the "
                "global generators of torch, numpy or Python, and keep no count of calls"
            )
    return None


def _equal(tensor: Tensor, other: Tensor) -> bool:
    alike = tensor.shape == other.shape and tensor.dtype == other.dtype
    return alike and bool(torch.equal(tensor.nan_to_num(), other.nan_to_num()))


def _not_kept(network: nn.Module) -> str | None:
    """Look whether its state is what a file of tensors can hold."""
    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            return f"has a state {name} that is a {type(value).__name__}, and no tensor"
    for name, _ in network.named_parameters():
        if name not in state:
            return f"leaves its parameter {name} out of its state_dict"
    return None


def _of_other_numbers(network: nn.Module) -> str | None:
    """Look at its parameters: float32, on the CPU, each in a place of its own, some to train."""
    parameters, places = dict(network.named_parameters()), dict[int, str]()
    if not any(parameter.requires_grad for parameter in parameters.values()):
        return "has no parameters to train"
    for name, parameter in parameters.items():
        if (device := parameter.device.type) != "cpu":
            return f"has its parameter {name} on the device {device}; build it on the CPU"
        is_number = parameter.is_floating_point() or parameter.is_complex()
        if is_number and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            return (
                f"has a parameter {name} of {kind}; it must be of float32: compute.precision says "
                "what trainings compute in"
            )
        first = places.setdefault(parameter.data_ptr(), name)
        if first != name and parameter.numel():
            return (
                f"has {first} and {name} in one place without being one parameter, so that copies "
                "of it are another network: tie them by assigning the parameter itself"
            )
    return None


def _by_batch(network: nn.Module, images: Tensor, classes: int) -> str | None:
    """Look at its logits, of images together and of each alone."""
    together, again = network(images), network(images)
    if fault := logits_fault(together, len(images), classes):
        return fault
    if together.isnan().any() or together.max() == torch.inf:  # minus infinity masks a class
        return "returns logits that are not finite before any training"
    alone = []
    for image in torch.split(images, 1):
        alone.append(network(image))
        if fault := logits_fault(alone[-1], 1, classes):
            return fault
    differs = (torch.cat(alone) - together).abs().max() > CLOSE * together.abs().max()
    if differs and torch.equal(together, again):
        return (
            "makes of an image what the others in its batch say, in eval mode too, so that its "
            "accuracy is of batches, and attacks on some of them mean nothing: use running "
            "statistics, as BatchNorm has them"
        )
    return None


def _unattackable(network: nn.Module, images: Tensor, attacks: Sequence[str]) -> str | None:
    """Try what attacks do: copy the network, and ask for the gradient of its logits by images."""
    images = images.clone().requires_grad_()
    try:
        network(images)  # which may leave something in it
        logits = Twin(network)(images)
    except Exception as error:  # of the user's own code
        return f"cannot be copied and attacked: {type(error).__name__}: {error}"
    parts = [part for name in attacks for part in name.split("+")]
    if all(WITHOUT_GRADIENTS.match(part) for part in parts):
        return None
    reached = None
    if logits.requires_grad:
        (reached,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    if reached is None:
        return (
            "lets no gradient through to its images in eval mode, so that attacks by gradients "
            "cannot be made: look for detach, .data, no_grad and inference_mode in its forward"
        )
    if not reached.isfinite().all():
        return "has a gradient by its images that is not finite, so that it cannot be attacked"
    return None
