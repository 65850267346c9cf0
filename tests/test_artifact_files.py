"""Artifacts come back as they were; a damaged one reads as absent."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from orchestrator.state.artifacts import CHECKPOINT, Artifacts
from prune_core.specs.stage import NETWORK
from results.tables.storage import Storage

from test_store import put, trial


@pytest.fixture
def artifacts(storage: Storage) -> Artifacts:
    return Artifacts(storage)


TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def test_an_artifact_comes_back_as_it_was(artifacts: Artifacts) -> None:
    artifacts.save("dense", "k", NETWORK, TENSORS, {"x": [1, None]})
    assert artifacts.has("dense", "k")
    tensors, facts = artifacts.load("dense", "k", NETWORK)
    assert facts == {"x": [1, None]}
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    artifacts.drop("dense", "k", NETWORK)
    assert not artifacts.has("dense", "k")
    artifacts.save("dense", "k", CHECKPOINT, TENSORS, {})
    assert not artifacts.has("dense", "k")  # a checkpoint is no result


@pytest.mark.parametrize("position", ["start", "header", "end", "truncate", "empty"])
@pytest.mark.parametrize("kind", ["network", "facts"])
def test_a_damaged_artifact_reads_as_absent(
    artifacts: Artifacts, position: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    if kind == "network":
        artifacts.save("dense", "k", NETWORK, TENSORS, {"x": "some facts"})
        path = Path(artifacts.storage.path("artifacts", "dense", "k", NETWORK))
    else:
        artifacts.save_facts("sensitivity", "k", {"x": "some facts"})
        path = Path(artifacts.storage.path("artifacts", "sensitivity", "k", "facts.json"))
    data = bytearray(path.read_bytes())
    if position in ("truncate", "empty"):
        data = data[:-5] if position == "truncate" else data[:0]
    else:
        at = {"start": 2, "header": data.index(b"some"), "end": len(data) - 3}[position]
        data[at] ^= 1
    path.write_bytes(data)
    if kind == "network":
        assert artifacts.load("dense", "k", NETWORK) is None
    else:
        assert artifacts.load_facts("sensitivity", "k") is None
    assert not path.exists()
    assert "is damaged" in caplog.text


def test_files_hold_no_pickle(artifacts: Artifacts) -> None:
    artifacts.save("dense", "k", NETWORK, TENSORS, {"x": 1})
    data = artifacts.storage.read("artifacts", "dense", "k", NETWORK)
    assert data[8:9] == b"{"  # safetensors: a length, then JSON
    put(artifacts.storage, "trials", [trial("k")])
    assert pq.read_schema(artifacts.storage.path("tables", "trials", "000001.parquet"))
