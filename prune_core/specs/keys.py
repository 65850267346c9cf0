"""Keys: the identity of a stage, and the seeds of all its random numbers.

A key is a hash of the stage's spec with every default written out, of the keys of its parents and
of a format version. A changed default therefore gives a new key, and an old result is never taken
for a new one. Every random number comes from a seed of (key, purpose); see `derive_seed`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY_DIGITS = 20
"""These are 80 bits: two of a billion keys are equal with a probability of about 1 in 2 million."""
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return a value as JSON with sorted keys and no spaces.

    Raises:
        ValueError: If the value holds NaN or infinity.
    """
    return CANONICAL.encode(value)


def stage_key(stage: str, version: int, spec: Mapping[str, str], parents: Mapping[str, str]) -> str:
    """Return the key of a stage: `KEY_DIGITS` hexadecimal digits of a SHA-256.

    Args:
        stage: The kind of the stage.
        version: The version of that kind.
        spec: Every field of the stage, its value as `canonical` writes it. The caller writes the
            values because stages share most of them.
        parents: The keys of the stages that it starts from, by field.
    """
    fields = ",".join(f'"{name}":{spec[name]}' for name in sorted(spec))
    above = ",".join(f'"{name}":"{parents[name]}"' for name in sorted(parents))
    # The text is what canonical() returns for a dict of parents, spec, stage and version.
    text = f'{{"parents":{{{above}}},"spec":{{{fields}}},"stage":"{stage}","version":{version}}}'
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def file_digest(file: Path) -> str | None:
    """Return a digest of a file's bytes; None if it is not there, cannot be read, or is no file."""
    try:
        stat = file.stat()
        return _file_digest(file, stat.st_size, stat.st_mtime_ns) if file.is_file() else None
    except OSError:
        return None


@functools.cache
def _file_digest(file: Path, size: int, changed: int) -> str:
    """Read a file once, however many stages it is a part of."""
    del size, changed
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:KEY_DIGITS]


def derive_seed(key: str, *purpose: str | int) -> int:
    """Return a seed of 63 bits.

    Args:
        key: The key of a stage, or any other text.
        purpose: What the random numbers are for; each purpose has a seed of its own.
    """
    digest = hashlib.sha256(canonical([key, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
