"""Where a row comes from: the code, the libraries that compute, the processor and accelerator."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from orchestrator.worker.device import device_name

HOME = Path(__file__).parents[2]


@functools.cache
def provenance(device: str) -> dict[str, str | None]:
    """Return the columns of ``trials`` that say what computed a row, on a device."""
    return {
        "commit": _commit(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "timm": version("timm"),
        "torch_pruning": version("torch-pruning"),
        "cuda": torch.version.cuda,
        "processor": _processor(),
        "accelerator": device_name(device),
    }


def _commit() -> str | None:
    """Return the commit of a checkout, marked where files differ from it; None without one."""
    if not (HOME / ".git").exists():
        return None
    command = [
        "git",
        "-C",
        str(HOME),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603 - no part of it is given by a user
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
