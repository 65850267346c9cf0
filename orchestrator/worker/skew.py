"""Skew: whether the methods of the user's own here are those that the driver's keys stand for."""

from __future__ import annotations

from collections.abc import Mapping

from prune_core.errors import PruneCoreError
from prune_core.specs.registry import AXES


def differing(methods: Mapping[str, str | None]) -> list[str]:
    """Return those that are others here, or are not here.

    Args:
        methods: The digest of each method's code where the driver is, by ``axis name``.
    """
    return [name for name, digest in methods.items() if _digest(name) != digest]


def _digest(name: str) -> str | None:
    axis, _, own = name.partition(" ")
    try:
        return AXES[axis][own].digest
    except PruneCoreError as error:
        return f"none: {error}"
