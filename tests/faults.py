"""Tries the faults of faults.yaml: does the suite notice each? Writes faults.md.

Each fault changes one place of a copy of the code; then the test files that should notice run until
the first failure. From the project's folder: ``python tests/faults.py [--only TEXT]``, some twenty
seconds a fault. `test_faults` holds that every fault still fits the code.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("mrsweep", "prune_core", "results", "orchestrator")
PAGE = ROOT / "tests" / "faults.md"


class Fault(NamedTuple):
    """One change of the code."""

    what: str
    file: str
    old: str
    """What stands in the file, once."""
    new: str
    tests: tuple[str, ...]
    """The test files that should notice, without ``test_`` and ``.py``."""
    before: str = "noticed"
    """Whether version 0.1's suite of 1,692 tests noticed it."""

    @property
    def test_files(self) -> list[str]:
        """Their paths from the project's folder."""
        return [f"tests/test_{name}.py" for name in self.tests]

    def apply(self, root: Path) -> None:
        """Change a copy of the code; raise ValueError where ``old`` does not stand there once."""
        file = root / self.file
        text = file.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times: {self.old}")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


def read_faults() -> list[Fault]:
    """Return the list."""
    entries = yaml.safe_load((ROOT / "tests" / "faults.yaml").read_text(encoding="utf-8"))
    return [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def noticed_by(fault: Fault) -> str | None:
    """Return the first test that fails with a fault, None where none does."""
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
            elif path.name in (*PACKAGES, "tests", "sweeps", "claims", "docs", "benchmarks"):
                shutil.copytree(path, Path(folder, path.name))
        fault.apply(Path(folder))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", *fault.test_files],
            cwd=folder, env={**os.environ, "PYTHONPATH": folder},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    failed = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode and not failed:
        raise RuntimeError(f"{fault.what}: no test ran\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[0] if failed else None


def page(rows: list[tuple[Fault, str | None]]) -> str:
    """Return the faults, and what noticed each, as Markdown."""
    missed = sum(name is None for _, name in rows)
    before = sum(fault.before == "missed" for fault, _ in rows)
    head = f"""# Faults set by hand, and the tests that notice them

{len(rows)} faults, {missed} missed. Made by `python tests/faults.py` from `tests/faults.yaml`: each
fault changes one place of a copy of the code; the test named is the first that fails. *Before* is
the suite of version 0.1, with the same faults set in its code: {before} were missed.

| | fault | file | before | noticed by |
| --- | --- | --- | --- | --- |
"""
    lines = [
        f"| {number} | {fault.what} | `{fault.file}` | {fault.before} | "
        f"{f'`{name}`' if name else '**missed**'} |\n"
        for number, (fault, name) in enumerate(rows, start=1)
    ]
    return head + "".join(lines)


def main() -> None:
    """Try the faults; write the page where all were tried."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="faults whose file or text contains this")
    only = parser.parse_args().only
    rows: list[tuple[Fault, str | None]] = []
    for fault in read_faults():
        if only in fault.file + fault.what:
            rows.append((fault, noticed_by(fault)))
            print(f"{len(rows)}. {fault.what}: {rows[-1][1] or 'MISSED'}", flush=True)
    if not only:
        PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
