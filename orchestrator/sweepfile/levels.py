"""Levels of a factor: what they may be called, and that each is given once."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, TypeVar

from pydantic import Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME)]
T = TypeVar("T")


def distinct(levels: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse a level that is there twice."""
    if again := sorted(str(level) for level, times in Counter(levels).items() if times > 1):
        raise ValueError(f"repeated: {', '.join(again)}; give every level once")
    return levels


def distinct_contents(levels: dict[str, Any]) -> dict[str, Any]:
    """Refuse two names of what is the same level."""
    names = list(levels)
    for index, name in enumerate(names):
        for other in names[:index]:
            if levels[name] == levels[other]:
                raise ValueError(f"{name!r} and {other!r} say the same; give every level once")
    return levels
