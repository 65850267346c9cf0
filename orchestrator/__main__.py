"""Starts the command line: what ``mrsweep`` and ``python -m orchestrator`` run."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
"""The folder that holds the packages: the checkout, or where pip installs."""


def main() -> None:
    """Run the command line, with the working folder last on the path.

    Methods of the user's own are found there; a ``results.py`` or ``queue.py`` there hides nothing.
    """
    here = Path.cwd()
    if here != HOME:
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != here]
        sys.path.append(str(here))
    for package in ("prune_core", "results"):
        _refuse_another(package)

    from orchestrator.cli.main import main as command_line

    command_line()


def _refuse_another(package: str) -> None:
    """Exit where something else comes first on the path under the name of a package of ours."""
    spec = PathFinder.find_spec(package)
    where = spec.origin if spec else None
    if where is None or Path(where).resolve().parents[1] != HOME:
        sys.stderr.write(
            f"{where or 'another folder'} hides mrsweep's own package {package!r} (in {HOME}): "
            "rename it, or take its folder off PYTHONPATH\n"
        )
        raise SystemExit(2)


if __name__ == "__main__":
    main()
