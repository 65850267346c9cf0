"""The sweep files that come with mrsweep: in a checkout, and in what pip installs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

TEMPLATE = Path(__file__).with_name("template.yaml")
"""A commented sweep file to begin with."""


def shipped_sweeps() -> dict[str, Path]:
    """Return the sweep files by name."""
    package = Path(__file__).parents[1]
    installed = package / "sweeps"  # where the wheel puts them
    folder = installed if installed.is_dir() else package.parent / "sweeps"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def purpose(file: Path) -> str:
    """Return the first sentence of the comment that a sweep file begins with."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.removeprefix("#").strip() for line in comment)
    sentence = re.match(r".*?[.?](?= |$)", text)
    return sentence[0] if sentence else text
