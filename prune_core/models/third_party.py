"""Libraries that look for a tracker when they are imported, imported without one.

timm, and Torch-Pruning by way of it, import wandb where it is installed. That late it takes up to
15 seconds of every process, and nothing here asks timm to log.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

__all__ = ["Attention", "timm", "torch_pruning"]


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Hide a package from what is imported within, unless it has been imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # Python's way to say: not there
    try:
        yield
    finally:
        del sys.modules[package]


with _hidden("wandb"):
    import timm
    import torch_pruning
    from timm.layers.attention import Attention
