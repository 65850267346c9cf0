"""Folders that are written whole or not at all; no torch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

from prune_core.errors import ExportError


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; its files appear in ``folder`` whole, or not at all.

    Raises:
        ExportError: The folder cannot be written to.
    """
    stage = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        stage.mkdir(parents=True)
        yield stage
        for file in stage.iterdir():
            file.replace(folder / file.name)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written to: {error.strerror or error}") from error
    finally:
        rmtree(stage, ignore_errors=True)
