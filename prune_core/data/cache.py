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
from tempfile import mkdtemp

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [n, c, h, w] and labels [n]."""


def folder() -> Path:
    """Return this machine's folder of decoded images: ``MRSWEEP_CACHE``, or the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("MRSWEEP_CACHE") or Path(home) / "mrsweep")


def decoded(
    files: Iterable[Path], how: Mapping[str, object], decode: Callable[[], Arrays]
) -> Arrays:
    """Return decoded images, from the cache if they are there.

    A cache that cannot be read or written costs only time; a warning says so.

    Args:
        files: The files that ``decode`` reads.
        how: Everything else that the arrays depend on, as JSON values.
        decode: Reads the files; it is called if the cache has no entry for them.
    """
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    text = json.dumps([stats, dict(how)], sort_keys=True)
    place = folder() / hashlib.sha256(text.encode()).hexdigest()[:32]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                _write(place, decode())
        # Copy on write: pages are shared between processes, and nothing reaches the file.
        images = np.load(place / "images.npy", mmap_mode="c", allow_pickle=False)
        return images, np.load(place / "labels.npy", allow_pickle=False)
    except OSError as error:
        log.warning("decoded images cannot be kept in %s: %s", folder(), error)
        return decode()


def _write(place: Path, arrays: Arrays) -> None:
    """Write an entry completely or not at all."""
    fresh = Path(mkdtemp(dir=place.parent))
    np.save(fresh / "images.npy", arrays[0], allow_pickle=False)
    np.save(fresh / "labels.npy", arrays[1], allow_pickle=False)
    fresh.rename(place)
