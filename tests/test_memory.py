"""Peak memory: of one job, in a process that has done larger ones."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.worker import memory
from orchestrator.worker.memory import CONTEXT, PeakMemory, pool_share

MEGABYTES = 2**20


def test_a_job_s_peak_is_its_own() -> None:
    first = PeakMemory("cpu")
    if not first._forgotten:
        pytest.skip("this system does not let a process forget its peak")
    base = PeakMemory("cpu").peak()
    large = np.ones(200 * MEGABYTES // 8)
    del large
    assert first.peak() > base + 150 * MEGABYTES
    assert PeakMemory("cpu").peak() < base + 50 * MEGABYTES


@pytest.mark.parametrize(("gpus", "memory"), [(0.05, 80), (0.25, 24), (0.5, 16), (0.2, 8)])
def test_as_many_jobs_as_shares_fit_a_gpu_contexts_and_all(gpus: float, memory: int) -> None:
    total = memory * 2**30
    jobs = round(1 / gpus)
    assert jobs * (pool_share(gpus, total) * total + CONTEXT) <= total * 1.0001
    assert pool_share(1.0, total) == 1


def test_a_share_smaller_than_a_context_leaves_something_to_compute_in() -> None:
    assert pool_share(0.05, 8 * 2**30) == 0.025


def test_on_a_gpu_the_peak_is_what_neighbours_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch reserves counts, in use or not, and the context."""
    torch = memory.torch
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 2**30)
    assert PeakMemory("cuda").peak() == 2**30 + CONTEXT


def test_elsewhere_it_is_the_process_s(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    assert PeakMemory("cpu").peak() > 10 * MEGABYTES
