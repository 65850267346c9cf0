"""Names of methods with placeholders: ``pgd-<k>`` answers to ``pgd-20``."""

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
    "corruption": r"[a-z-]+",
    "attack": r"[^+]+",
    "then": r".+",
}
"""What may stand in a name for each placeholder."""
INNER = {
    "objective": "objectives",
    "corruption": "corruptions",
    "attack": "attacks",
    "then": "attacks",
}
"""Placeholders that hold another method's name, with its axis: ``awp:<objective>`` wraps one."""


def arguments_in(name: str, pattern: str) -> dict[str, str | int] | None:
    """Return what ``name`` holds for the placeholders of ``pattern``; None if it does not answer.

    What is digits is a number.
    """
    if "<" not in pattern:
        return {} if name == pattern else None
    match = _compiled(pattern).fullmatch(name)
    if match is None:
        return None
    return {key: int(text) if text.isdigit() else text for key, text in match.groupdict().items()}


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", pattern)
    return re.compile(
        "".join(
            f"(?P<{part}>{PLACEHOLDERS[part]})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )
