"""The device that a job computes on: whether it is there, what it is, how a process uses it."""

from __future__ import annotations

import gc
from collections.abc import Iterable

import torch

from orchestrator.errors import OrchestratorError
from orchestrator.worker.memory import pool_share
from prune_core.specs.compute import Compute
from prune_core.specs.registry import ATTACKS


class DeviceError(OrchestratorError):
    """A device that this machine does not have."""


def resolve_device(device: str) -> str:
    """Return ``cuda`` or ``cpu`` for ``auto``, and any other device as it is.

    Raises:
        DeviceError: This machine does not have it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"device {device!r}: {error}") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: this machine has no CUDA device; use --device cpu")
    return device


def device_memory(device: str) -> int | None:
    """Return the bytes that a GPU has; None on a CPU."""
    if torch.device(device).type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def device_name(device: str) -> str | None:
    """Return the model of a GPU; None on a CPU."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None


def slow(device: str, compute: Compute, attacks: Iterable[str]) -> str | None:
    """Say why jobs are slow on a device; None where they are not, as far as torch tells.

    Args:
        device: What is computed on.
        compute: How trainings compute.
        attacks: What networks are evaluated by.
    """
    if torch.device(device).type == "cuda" and compute.named == "exact":
        return (
            "trainings compute by profile exact, which took an H200 nine times as long as fast "
            "(docs/gpu.md); compute: {profile: fast} is in the keys: say it before the first run"
        )
    lowered = {trait for name in attacks for trait in ATTACKS[name].traits}
    if torch.device(device).type != "cpu":
        return None
    reasons = []
    if "tf32" in lowered:
        reasons.append("no processor has TF32: attacks with tf32: compute in float32 here")
    has_bfloat16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if "bfloat16" in {compute.precision, *lowered} and not has_bfloat16:
        reasons.append(
            "this processor has neither AMX nor avx512_bf16, so bfloat16 is some 8 times slower on "
            "it than float32; leave out compute.precision, compute.profile and bfloat16: before "
            "attacks, or use a GPU"
        )
    return "; ".join(reasons) or None


def prepare_process(device: str, gpus: float) -> None:
    """Make results independent of the process; keep it to its part of a GPU's memory.

    The number of threads that add up decides the last bits of a sum, so there is one.

    Args:
        device: What is computed on.
        gpus: The part of a GPU that the process may use; 0 for no limit. Ray only counts parts:
            the limit is what keeps a job from the memory of its neighbours.
    """
    torch.set_num_threads(1)
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        if gpus:
            torch.cuda.set_per_process_memory_fraction(pool_share(gpus, device_memory(device) or 1))


def give_back(device: str) -> None:
    """Give back memory that a job which is over does not hold any more."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
