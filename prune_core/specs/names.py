"""Names of methods with placeholders: ``pgd-<k>`` matches ``pgd-20``."""

from __future__ import annotations

import functools
import re

PLACEHOLDERS = {
    "k": r"[1-9]\d{0,4}",
    "n": r"[1-9]\d?",
    "m": r"[1-9]\d?",
    "severity": r"[1-5]",
    "name": r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    "objective": r".+",
    "criterion": r".+",
    "corruption": r"[a-z-]+",
    "file": r"[a-z]+(?:-[a-z]+)*",
    "attack": r"[^+]+",
    "then": r".+",
}
"""What each placeholder matches, as a regular expression."""
INNER = {
    "objective": "objectives",
    "criterion": "criteria",
    "corruption": "corruptions",
    "attack": "attacks",
    "then": "attacks",
}
"""Placeholders that stand for the name of another method, and the axis of that method."""


def arguments_in(name: str, pattern: str) -> dict[str, str | int] | None:
    """Return what stands in a name for the placeholders of a pattern.

    Args:
        name: A name as users write it, such as ``pgd-20``.
        pattern: The name of a method, such as ``pgd-<k>``.

    Returns:
        Values by placeholder, digits as a number: ``{"k": 20}``. None if the pattern does not
        match.
    """
    if "<" not in pattern:
        return {} if name == pattern else None
    match = _compiled(pattern).fullmatch(name)
    if match is None:
        return None
    return {key: int(text) if text.isdigit() else text for key, text in match.groupdict().items()}


def placeholders(pattern: str) -> list[str]:
    """Return the placeholders of the name of a method: ``["k"]`` of ``pgd-<k>``."""
    return re.findall(r"<(\w+)>", pattern)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", pattern)
    return re.compile(
        "".join(
            f"(?P<{part}>{PLACEHOLDERS[part]})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )
