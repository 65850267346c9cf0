"""The lock of a bundle: names and versions of what computed its rows."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any

from prune_core import __version__

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
ROWS = {"torch": "torch", "torchvision": "torchvision", "timm": "timm",
        "torch_pruning": "torch-pruning", "version": "mrsweep"}  # fmt: skip
"""Columns of ``trials`` that say the version of a package."""


def installed() -> dict[str, str]:
    """Return the versions of all packages here that mrsweep needs, and that these need."""
    found = {"mrsweep": __version__}
    waiting = _needs("mrsweep")
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not needed on this kind of machine
        waiting += _needs(name)
    return dict(sorted(found.items()))


def _needs(package: str) -> list[str]:
    """Return what a package needs, extras aside; of mrsweep as it is here, installed or not."""
    try:
        told = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = (NAME.match(line) for line in told if "extra ==" not in line)
    return [name[0].lower().replace("_", "-").replace(".", "-") for name in names if name]


def lock(computed: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what rows were computed by, as far as they say it, else what is installed here.

    Args:
        computed: By what; see `results.publish.provenance.computed`.
    """
    rows: dict[str, list[str]] = {}
    for of in computed:
        for column, name in ROWS.items():
            if column in of and str(of[column]) not in rows.setdefault(name, []):
                rows[name].append(str(of[column]))
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "installed": installed(),
        "rows": rows,
    }


def requirements(locked: Mapping[str, Any]) -> str:
    """Return a lock as a file of requirements: versions as rows say them, the rest as here."""
    rows, lines = locked["rows"], [f"# Python {locked['python']} on {locked['system']}."]
    for name, here in locked["installed"].items():
        versions = rows.get(name, [])
        said = f"  # rows: {', '.join(versions)}" if versions else ""
        first = (versions or [here])[0].partition("+")[0]  # builds are not told apart on PyPI
        ours = "# " if name == "mrsweep" else ""
        lines.append(f"{ours}{name}=={first}{said}")
    return "\n".join(lines) + "\n"
