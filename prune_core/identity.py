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


def canonical(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def stage_key(stage: str, version: int, spec: Mapping[str, Any], parents: Mapping[str, str]) -> str:
    """Return the key of a stage: `KEY_DIGITS` hexadecimal digits of a SHA-256."""
    text = canonical(
        {"stage": stage, "version": version, "spec": dict(spec), "parents": dict(parents)}
    )
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def derive_seed(key: str, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose within the stage ``key``."""
    digest = hashlib.sha256(canonical([key, *purpose]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
