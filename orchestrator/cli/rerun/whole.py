"""A bundle appears whole or not at all, as a folder or a zip, and names no place of a machine."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.cli.rerun.sweepfile import CHECKPOINTS
from orchestrator.errors import RequestError

TEXTS = {".yaml", ".json", ".md", ".cff", ".txt"}
"""Endings of files that people write in; tables are looked through as they are gathered."""


@contextlib.contextmanager
def whole(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes the bundle; whatever goes wrong leaves nothing.

    Raises:
        RequestError: It is there already, or cannot be written.
    """
    if target.exists():
        raise RequestError(f"{target} is there already; give another name, or remove it")
    stage = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    packed = stage.with_suffix(".zip")
    try:
        stage.mkdir(parents=True)
        yield stage
        if target.suffix == ".zip":
            _pack(stage, packed, target.stem)
            packed.rename(target)
        else:
            stage.rename(target)
    except OSError as error:
        raise RequestError(f"{target} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        packed.unlink(missing_ok=True)


def _pack(folder: Path, target: Path, name: str) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, f"{name}/{file.relative_to(folder).as_posix()}")


def refuse_places(stage: Path, places: Sequence[str]) -> None:
    """Refuse a bundle that names a place of this machine; code is as its digest knows it.

    Args:
        stage: The folder that holds it.
        places: Folders of this machine.

    Raises:
        RequestError: It names the file and the place.
    """
    known = {place: re.compile(re.escape(place) + r"(?![\w-])") for place in places
             if len(Path(place).parts) > 1}  # fmt: skip
    named = []
    for file in sorted(path for path in stage.rglob("*") if path.suffix in TEXTS):
        path = file.relative_to(stage).as_posix()
        if not path.startswith(("code/", f"{CHECKPOINTS}/")):
            text = file.read_text(encoding="utf-8")
            named += [f"{path} names {place}" for place, of in known.items() if of.search(text)]
    if named:
        raise RequestError(
            f"a bundle names no place of a machine, but {'; '.join(named)}: take it out of the "
            "sweep file (a comment, or a setting that can be a $VARIABLE) and run once more"
        )
