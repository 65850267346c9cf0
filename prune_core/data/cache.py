"""A cache of decoded images on each machine: decoding happens once, and processes share memory.

An entry is named after a digest of the files' paths, sizes and times of change, so a changed data
set is decoded again. One process decodes while the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import numpy as np
from numpy.typing import NDArray

from prune_core.errors import DatasetError
from prune_core.guard import read_files

log = logging.getLogger(__name__)

VERSION = 3
"""Raised whenever the same files would be decoded to other images than before."""
Images = NDArray[np.uint8]
"""[n, c, h, w]."""


def folder() -> Path:
    """Return this machine's folder of decoded images.

    It is ``MRSWEEP_CACHE``, else in the user's cache; a user without a home has it among the
    temporary files.

    Raises:
        DatasetError: ``MRSWEEP_CACHE`` begins with a home that nobody has here.
    """
    if given := os.environ.get("MRSWEEP_CACHE"):
        try:
            return Path(os.path.expandvars(given)).expanduser().absolute()
        except RuntimeError as error:
            raise DatasetError(
                f"MRSWEEP_CACHE {given!r}: that home is not known here; give the whole path"
            ) from error
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "mrsweep")
    try:
        return Path.home() / ".cache" / "mrsweep"
    except RuntimeError:  # no entry of this user, as in some containers, and no HOME
        return Path(gettempdir(), f"mrsweep-{os.getuid()}")


def decoded(
    files: Iterable[Path], how: Mapping[str, object], decode: Callable[[], Images]
) -> Images:
    """Return decoded images, from the cache if they are there.

    A cache that cannot be read or written costs only time; a warning says so.

    Args:
        files: The files that ``decode`` reads.
        how: Everything else that the images depend on, as JSON values.
        decode: Reads the files; it is called if the cache has no entry for them.
    """
    files = list(files)
    read_files(files)
    stats = [(str(file), file.stat()) for file in files]
    # A copy may keep the time of modification, but never that of change.
    known = [(name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats]
    text = json.dumps([VERSION, known, dict(how)], sort_keys=True)
    place = folder() / hashlib.sha256(text.encode()).hexdigest()[:32]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                _write(place, decode())
        # Copy on write: pages are shared between processes, and nothing reaches the file.
        images: Images = np.load(place / "images.npy", mmap_mode="c", allow_pickle=False)
        return images
    except OSError as error:
        log.warning("decoded images cannot be kept in %s: %s", folder(), error)
        return decode()


def _write(place: Path, images: Images) -> None:
    """Write an entry completely or not at all."""
    fresh = Path(mkdtemp(dir=place.parent))
    np.save(fresh / "images.npy", images, allow_pickle=False)
    fresh.rename(place)
