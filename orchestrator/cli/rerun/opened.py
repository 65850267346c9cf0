"""A bundle, opened to be done again: its record, and whether its files are those that it had."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import results
from orchestrator.cli.rerun import contents
from orchestrator.cli.rerun.bundling import FORMAT, RECORD
from orchestrator.cli.rerun.comparing import disagreeing
from orchestrator.errors import RequestError
from orchestrator.planning.sources import forget
from results.claims.certificate import differences
from results.errors import AnalysisError
from results.report.judged import judged
from results.tables.load import Loaded

NEEDED = ("sweep", "lock", "methods", "content", "verdicts", "files")
"""What a bundle's record must say."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that lies in a folder."""

    folder: Path
    record: Mapping[str, Any]

    @property
    def loaded(self) -> Loaded:
        """Its tables."""
        return results.load(str(self.folder), str(self.record["sweep"]))

    def faults(self) -> Iterator[str]:
        """Go through the files that are not what the bundle had."""
        for path, digest in self.record["files"].items():
            file = self.folder / path
            if not file.is_file():
                yield f"{path} is not there"
            elif hashlib.sha256(file.read_bytes()).hexdigest() != digest:
                yield f"{path} is not the file that was bundled"

    def table_faults(self) -> Iterator[str]:
        """Go through accuracies of trials that are not those of the evaluations' images."""
        yield from disagreeing(self.loaded.trials, self.loaded.evaluations)

    def verdict_faults(self) -> Iterator[str]:
        """Go through what the verdicts of the tables say otherwise than the bundle."""
        try:
            found = contents.verdicts_of(judged(self.loaded))
        except AnalysisError as error:
            found = {}
            if self.record["verdicts"]:
                yield f"no verdict can be found: {error}"
        yield from differences(self.record["verdicts"], found, "verdicts", "bundle")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Open a bundle: a folder, or a zip, which is unpacked for as long as it is open.

    Raises:
        RequestError: It is none, or of a later format.
    """
    if path.is_dir():
        yield _read(path)
        return
    with TemporaryDirectory(prefix="mrsweep-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)  # names that lead out of the folder are cut there
        except (OSError, zipfile.BadZipFile) as error:
            raise RequestError(f"{path} cannot be read as a bundle: {error}") from error
        inside = [file.parent for file in sorted(Path(folder).glob(f"**/{RECORD}"))]
        yield _read(inside[0] if inside else Path(folder))


def _read(folder: Path) -> Bundle:
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{folder} is no bundle, whose {RECORD} says what it holds: {error}"
        ) from error
    if not isinstance(record, dict) or record.get("bundle") != FORMAT:
        raise RequestError(f"{folder} is no bundle of format {FORMAT}, which this version reads")
    if lacking := [name for name in NEEDED if name not in record]:
        raise RequestError(f"{folder / RECORD} lacks {', '.join(lacking)}: it is not whole")
    return Bundle(folder.absolute(), record)


@contextlib.contextmanager
def entered(bundle: Bundle) -> Iterator[None]:
    """Work within a bundle: its code is what is imported, its paths are relative to it.

    Raises:
        RequestError: This process has imported other modules under the names of the bundle's.
    """
    code = bundle.folder / "code"
    taken = [name for name, file in _modules(code) if _is_another(name, file)]
    if taken:
        raise RequestError(
            f"{', '.join(taken)} of other folders are imported already: reproduce the bundle in a "
            "process of its own"
        )
    before = list(sys.path)
    sys.path.insert(0, str(code))
    forget()
    try:
        with contextlib.chdir(bundle.folder):
            yield
    finally:
        sys.path[:] = before
        forget()


def _modules(code: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(code.rglob("*.py")):
        parts = file.relative_to(code).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def _is_another(name: str, file: Path) -> bool:
    origin = getattr(sys.modules.get(name), "__file__", None)
    return origin is not None and Path(origin).resolve() != file.resolve()
