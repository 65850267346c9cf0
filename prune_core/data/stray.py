"""Which files of a data set are looked at: not what systems and software leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

STRAY = frozenset(
    {"__macosx", "__pycache__", "@eadir", "$recycle.bin", "#recycle", "#snapshot", "lost+found",
     "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
     "@recycle", "@recently-snapshot", "recycler", "network trash folder", "temporary items",
     "thumbs.db:encryptable"}
)  # fmt: skip
"""In small letters; names that begin with a dot, or with ~$, are left behind too."""
TEST_PARTS = ("test", "validation", "valid", "val", "dev")
"""What the test split may be called, as a folder or as Parquet files, in order of preference."""
MEANT = (*TEST_PARTS, "eval", "hold")
"""How a name begins, in small letters, by which somebody may mean a test split."""
Folders = frozenset[tuple[int, int]]
"""Device and number of each."""


def is_stray(name: str) -> bool:
    """Say whether a file or folder was left behind by a system, and belongs to no data set."""
    return name.startswith((".", "~$")) or name.lower() in STRAY


def files_in(place: Path, deep: bool = True, within: Folders = frozenset()) -> Iterator[Path]:
    """Yield the files in a folder, and in those below it; a link that leads nowhere too.

    Links are followed, but not into a folder that holds them.
    """
    here = place.stat()
    if (here.st_dev, here.st_ino) in within:
        return
    within |= {(here.st_dev, here.st_ino)}
    with os.scandir(place) as entries:
        for entry in entries:
            if is_stray(entry.name):
                continue
            if entry.is_file() or (entry.is_symlink() and not entry.is_dir()):
                yield Path(entry.path)
            elif entry.is_dir() and deep:
                yield from files_in(Path(entry.path), deep, within)
