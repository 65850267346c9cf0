"""What the files of a data set hold, as a digest: images decide keys, and not where they lie.

Digests of single files are kept in this machine's cache by path, size and times of change, so that
a second look costs a stat a file. No torch: plans ask.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkstemp

from prune_core.data.arrow import listed
from prune_core.data.cache import folder
from prune_core.data.stray import TEST_PARTS, files_in
from prune_core.errors import DatasetError
from prune_core.specs.keys import KEY_DIGITS
from prune_core.specs.settings import Dataset

log = logging.getLogger(__name__)

_SPLITS = ("train", *TEST_PARTS)
PARTS = {"folder": _SPLITS, "parquet": (".", "data"), "arrow": _SPLITS}
"""Where below root a source is read from; whatever else lies there is in no key."""
READERS = 8
"""Threads; a file on a network's disk is mostly waited for."""
SETTLED = 2.0
"""Seconds after which a file's times of change tell it from what it was before."""
Known = dict[str, tuple[int, int, int, str]]
"""Size, times of change and digest by path below root."""


def content(spec: Dataset, tell: Callable[[int, int], None] | None = None) -> str:
    """Return the digest of a data set's files: of their paths below root, and their bytes.

    Args:
        spec: A data set with content of its own (`Dataset.has_content`).
        tell: Called with how many files have been read, of how many that must be.

    Raises:
        DatasetError: A file cannot be read.
    """
    files = _digests(spec, tell)
    whole = hashlib.sha256()
    for name in files if _is_saved(spec) else sorted(files):
        whole.update(f"{name}\0{files[name]}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()[:KEY_DIGITS]


def shared(spec: Dataset, one: str, other: str) -> list[tuple[str, str]]:
    """Return the files below one folder of a data set that another folder has too, each with it."""
    files = _digests(spec)
    known = {digest: name for name, digest in files.items() if Path(name).parts[0] == other}
    return [
        (name, known[digest])
        for name, digest in sorted(files.items())
        if Path(name).parts[0] == one and digest in known
    ]


def _digests(spec: Dataset, tell: Callable[[int, int], None] | None = None) -> dict[str, str]:
    """Return the digest of each file by its path below root; for the arguments see `content`."""
    root = Path(str(spec.root))
    place = folder() / f"content-{hashlib.sha256(str(root).encode()).hexdigest()[:20]}.json"
    known = _load(place)
    try:
        files = {str(file.relative_to(root)): file for file in _files(spec, root)}
        stats = {name: _stat(file) for name, file in files.items()}
        fresh = [name for name, stat in stats.items() if known.get(name, ("",))[:3] != stat]
        with ThreadPoolExecutor(READERS) as pool:
            for done, digest in enumerate(pool.map(_digest, map(files.__getitem__, fresh))):
                known[fresh[done]] = (*stats[fresh[done]], digest)
                if tell is not None:
                    tell(done + 1, len(fresh))
    except OSError as error:
        raise DatasetError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if fresh:
        recent = (time.time() - SETTLED) * 1e9
        _save(place, {name: known[name] for name in files if max(known[name][1:3]) < recent})
    return {name: known[name][3] for name in files}


def _files(spec: Dataset, root: Path) -> Iterator[Path]:
    """Yield the files that a data set may be read from; a user's own is read from anywhere."""
    suffix = ".parquet" if spec.is_ours and spec.source == "parquet" else None
    for part in sorted(PARTS[spec.source]) if spec.is_ours else ("",):
        if not (root / part).is_dir():
            continue
        if _is_saved(spec):
            yield from _saved(root / part)
        else:
            files = files_in(root / part, deep=suffix is None)
            yield from (file for file in files if suffix in (None, file.suffix))


def _is_saved(spec: Dataset) -> bool:
    return spec.is_ours and spec.source == "arrow"


def _saved(split: Path) -> Iterator[Path]:
    """Yield those files of a saved split that its own list names, in its order."""
    with contextlib.suppress(DatasetError):  # whoever reads the images says what is wrong
        yield from filter(Path.exists, listed(split))


def _stat(file: Path) -> tuple[int, int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:32]


def _load(place: Path) -> Known:
    try:
        return {name: tuple(entry) for name, entry in json.loads(place.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # nothing kept yet, or not by us: all is read again


def _save(place: Path, known: Known) -> None:
    """Keep digests; a cache that cannot be written costs only time."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, fresh = mkstemp(dir=place.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            json.dump(known, opened)
        Path(fresh).replace(place)
    except OSError as error:
        log.warning("digests of images cannot be kept in %s: %s", place.parent, error)
