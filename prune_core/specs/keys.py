"""Identity: what a stage is, as a key; and every random number, from that key.

A key is a hash of the stage's own canonical spec, every default written out, of its parents' keys
and of a format version. Changing a default therefore changes the key, and never aliases an old
result. Randomness is derived from (key, purpose), never carried along: see `derive_seed`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

KEY_DIGITS = 20  # 80 bits: among a billion keys a collision has odds of about one in two million


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return CANONICAL.encode(value)


def stage_key(stage: str, version: int, spec: Mapping[str, str], parents: Mapping[str, str]) -> str:
    """Return the key of a stage: `KEY_DIGITS` hexadecimal digits of a SHA-256.

    ``spec`` has its values as canonical JSON already: stages share most of theirs.
    """
    fields = ",".join(f'"{name}":{spec[name]}' for name in sorted(spec))
    # As canonical() would write {"parents": ..., "spec": ..., "stage": ..., "version": ...}.
    text = (
        f'{{"parents":{canonical(dict(parents))},"spec":{{{fields}}},'
        f'"stage":{canonical(stage)},"version":{version}}}'
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def derive_seed(key: str, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose within the stage ``key``."""
    digest = hashlib.sha256(canonical([key, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
