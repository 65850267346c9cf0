"""Artifacts: what a stage yields, under ``artifacts/<stage>/<key>/``, self-verifying.

A file holds the digest of its own content; one that was truncated or altered reads as absent, so
that its stage is simply computed again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from prune_core.specs.stage import FACTS
from prune_core.specs.stages import STAGES
from results.tables.storage import Storage

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
"""Where a training goes on from; gone once its stage is done."""
HEAD = 65_536
"""Bytes that are read at once for a header; most are shorter."""


class Artifacts:
    """The artifacts of one storage root."""

    def __init__(self, storage: Storage):
        self.storage = storage

    def has(self, stage: str, key: str) -> bool:
        """Say whether a stage's result is there (its content is checked when it is read)."""
        return self.storage.has("artifacts", stage, key, STAGES[stage].result or "")

    def keys(self, stage: str) -> set[str]:
        """Return the keys of a stage's results; one listing."""
        files = (file.partition("/") for file in self.storage.sizes("artifacts", stage))
        return {key for key, _, name in files if name == STAGES[stage].result}

    def save(
        self, stage: str, key: str, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]
    ) -> None:
        """Write tensors and facts as one safetensors file."""
        self.storage.write(_pack(tensors, facts), "artifacts", stage, key, name)

    def load(
        self, stage: str, key: str, name: str
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return tensors and facts, or None where there are none or the file is damaged."""
        data = self.storage.read("artifacts", stage, key, name)
        if data is None:
            return None
        try:
            return _unpack(data)
        except ValueError as error:
            self._set_aside(stage, key, name, str(error))
            return None

    def facts(self, stage: str, key: str, name: str) -> dict[str, Any] | None:
        """Return the facts of a file of tensors, or None as `load` does; no tensor is read."""
        path = ("artifacts", stage, key, name)
        head = self.storage.read(*path, end=HEAD)
        if head is None:
            return None
        if (rest := _header_length(head)) > len(head):
            head += self.storage.read(*path, start=len(head), end=rest) or b""
        try:
            return _header_facts(head)
        except ValueError:  # damaged, or of a version that gave facts no digest of their own
            loaded = self.load(stage, key, name)
            return None if loaded is None else loaded[1]

    def save_facts(self, stage: str, key: str, facts: dict[str, Any]) -> None:
        """Write facts alone, as JSON."""
        text = json.dumps(facts, sort_keys=True)
        data = json.dumps({"digest": _digest(text.encode()), "facts": text}).encode()
        self.storage.write(data, "artifacts", stage, key, FACTS)

    def load_facts(self, stage: str, key: str) -> dict[str, Any] | None:
        """Return facts, or None where there are none or the file is damaged."""
        data = self.storage.read("artifacts", stage, key, FACTS)
        if data is None:
            return None
        try:
            return _facts(data)
        except ValueError as error:
            self._set_aside(stage, key, FACTS, str(error))
            return None

    def fault(self, stage: str, key: str, name: str) -> str | None:
        """Return what is wrong with a file, None where it is whole; nothing is changed."""
        data = self.storage.read("artifacts", stage, key, name)
        if data is None or not name.endswith((FACTS, ".safetensors")):
            return None  # dropped meanwhile, or not an artifact
        try:
            _facts(data) if name == FACTS else _unpack(data)
        except ValueError as error:
            return str(error)
        return None

    def drop(self, stage: str, key: str, name: str | None = None) -> None:
        """Remove one file of an artifact, or all of it."""
        if name is None:
            self.storage.remove("artifacts", stage, key)
        else:
            self.storage.remove_from("artifacts", stage, key, name)

    def _set_aside(self, stage: str, key: str, name: str, why: str) -> None:
        log.warning("%s of %s %s is damaged (%s); it is computed again", name, stage, key, why)
        self.drop(stage, key, name)


def _facts(data: bytes) -> dict[str, Any]:
    """Raise ValueError where the data are not exactly what was written."""
    try:
        stored = json.loads(data)
        text = stored["facts"]
        if stored["digest"] != _digest(text.encode()):
            raise ValueError("its digest does not match")
        facts: dict[str, Any] = json.loads(text)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no whole file of facts: {error}") from error
    return facts


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _digest_of(tensors: dict[str, Tensor], facts: str, tied: dict[str, str]) -> str:
    parts: list[bytes | memoryview] = [facts.encode()]
    parts += [f"{name}={first}".encode() for name, first in tied.items()]
    for name in sorted(tensors):
        tensor = tensors[name]
        parts += [f"{name}{tensor.dtype}{list(tensor.shape)}".encode()]
        parts += [tensor.contiguous().numpy().data]  # a view: they may be hundreds of megabytes
    return _digest(*parts)


def _pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    text = json.dumps(facts, sort_keys=True)
    names: dict[tuple[object, ...], str] = {}
    tied: dict[str, str] = {}
    on_cpu: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and (first := names.setdefault(place, name)) != name:
            tied[name] = first  # a weight that two layers share is written once
        else:
            on_cpu[name] = tensor.detach().cpu().contiguous()
    digests = {"digest": _digest_of(on_cpu, text, tied), "facts_digest": _digest(text.encode())}
    packed: bytes = save(on_cpu, {"facts": text, "tied": json.dumps(tied), **digests})
    return packed


def _header_length(data: bytes) -> int:
    """Return where the header of a safetensors file ends; its first 8 bytes say so."""
    return 8 + int.from_bytes(data[:8], "little")


def _header(data: bytes) -> dict[str, str]:
    header: dict[str, str] = json.loads(data[8 : _header_length(data)])["__metadata__"]
    return header


def _header_facts(data: bytes) -> dict[str, Any]:
    """Raise ValueError where the facts are not exactly what was packed."""
    try:
        header = _header(data)
        text, digest = header["facts"], header["facts_digest"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no header with facts: {error}") from error
    if digest != _digest(text.encode()):
        raise ValueError("the digest of its facts does not match")
    facts: dict[str, Any] = json.loads(text)
    return facts


def _unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Raise ValueError where the data are not exactly what was packed."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        header = _header(data)
        facts, digest = header["facts"], header["digest"]
        tied: dict[str, str] = json.loads(header.get("tied", "{}"))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"no whole safetensors file: {error}") from error
    if digest != _digest_of(tensors, facts, tied):
        raise ValueError("its digest does not match")
    tensors |= {name: tensors[first] for name, first in tied.items()}
    return tensors, json.loads(facts)
