"""Artifacts: their facts are read without their tensors, and are as safe from damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.state import artifacts as state
from orchestrator.state.artifacts import Artifacts
from prune_core.specs.stage import NETWORK
from results.tables.storage import Storage

from conftest import run_sweep, sweep_text

PATH = ("prune", "k", NETWORK)
TENSORS = {"weight": torch.arange(250_000.0), "bias": torch.ones(3)}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path))


def read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that is told how many bytes every read gives."""
    sizes, plain = [], Storage.read

    def counted(self: Storage, *parts: str, **span: Any) -> bytes | None:
        data = plain(self, *parts, **span)
        sizes.append(len(data or b""))
        return data

    monkeypatch.setattr(Storage, "read", counted)
    return sizes


@pytest.mark.parametrize("length", [3, 100_000])
def test_facts_are_read_without_the_tensors(
    length: int, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"history": list(range(length))}
    Artifacts(storage).save(*PATH, TENSORS, facts)
    sizes = read(storage, monkeypatch)
    assert Artifacts(storage).facts(*PATH) == facts
    assert sum(sizes) <= state.HEAD + 10 * length  # a header that is longer is read in two parts
    loaded = Artifacts(storage).load(*PATH)
    assert loaded is not None
    assert loaded[1] == facts


def test_there_are_no_facts_of_what_is_not_there(storage: Storage) -> None:
    assert Artifacts(storage).facts(*PATH) is None


def test_damaged_facts_read_as_absent(storage: Storage) -> None:
    Artifacts(storage).save(*PATH, TENSORS, {"structure": "abcdef"})
    path = Path(storage.path("artifacts", *PATH))
    whole = path.read_bytes()
    for damaged in (whole.replace(b"abcdef", b"abcdeg"), whole[:40], b"", whole[:4]):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(damaged)
        assert Artifacts(storage).facts(*PATH) is None


def test_facts_of_a_file_without_a_digest_of_its_own_are_read_whole(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of version 0.1 have none."""
    from safetensors.torch import save

    text = '{"structure": 1}'
    digest = state._digest_of(TENSORS, text, {})
    data = save(TENSORS, {"facts": text, "digest": digest})
    storage.write(data, "artifacts", *PATH)
    sizes = read(storage, monkeypatch)
    assert Artifacts(storage).facts(*PATH) == {"structure": 1}
    assert max(sizes) == len(data)


def test_a_trial_loads_no_network_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[str, ...]] = []
    plain = Artifacts.load

    def counted(self: Artifacts, *path: str) -> object:
        loads.append(path)
        return plain(self, *path)

    one = "{rewound: {objective: standard, epochs: 1, policy: weight-rewind}}"
    text = sweep_text(criteria="[l1]", seeds="1", finetuning=one)
    run_sweep(text, tmp_path)  # the dense network, its earlier state, the pruned one
    for file in tmp_path.glob("tables/trials/*"):
        file.unlink()
    monkeypatch.setattr(Artifacts, "load", counted)
    run_sweep(text, tmp_path)
    networks = [path for path in loads if path[2] == NETWORK]
    assert [kind for kind, *_ in networks].count("prune") <= 1
    assert len(networks) == len(set(networks))
