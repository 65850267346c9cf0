"""What systems and software leave behind among the files of a data set."""

from __future__ import annotations

STRAY = frozenset(
    {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found",
     "system volume information", "thumbs.db", "desktop.ini"}
)  # fmt: skip
"""In small letters; names that begin with a dot are left behind too."""


def is_stray(name: str) -> bool:
    """Say whether a file or folder was left behind by a system, and belongs to no data set."""
    return name.startswith(".") or name.lower() in STRAY
