"""Peak memory: of one job, in a process that has done larger ones."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.worker import memory
from orchestrator.worker.memory import PeakMemory

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


def test_elsewhere_it_is_the_process_s(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "PROCESS", tmp_path)
    assert PeakMemory("cpu").peak() > 10 * MEGABYTES
