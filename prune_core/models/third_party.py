"""Libraries that import more than is asked of them, imported without it.

Torch-Pruning imports timm, and timm wandb, where these are installed: up to 15 seconds of every
process. Nothing here asks timm to log, and few jobs have a network of timm's.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timm.layers.attention import Attention

__all__ = ["load_timm", "timm_attention", "torch_pruning", "torch_pruning_graph"]


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


with _hidden("timm"):
    import torch_pruning
    from torch_pruning.dependency import graph as torch_pruning_graph


def load_timm() -> ModuleType:
    """Import timm, where a network of it is asked for: it takes a third of a second and 30 MB."""
    with _hidden("wandb"):
        return importlib.import_module("timm")


def timm_attention() -> type[Attention] | None:
    """Return timm's attention layer; None where timm was not imported: no network has it then."""
    module = sys.modules.get("timm.layers.attention")
    return None if module is None else module.Attention
