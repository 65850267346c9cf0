"""Energy by the counters of processors and GPUs, with folders and a library in their place."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from orchestrator.worker import energy
from orchestrator.worker.energy import Energy


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A processor whose counter starts again at 10 joules; a part of it counts for nothing."""
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text("9000000\n")
        (tmp_path / name / "max_energy_range_uj").write_text("10000000\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy.os, "cpu_count", lambda: 4)
    return tmp_path / "intel-rapl:0" / "energy_uj"


def test_a_job_has_its_part_of_a_processor_whose_counter_starts_again(zone: Path) -> None:
    job = Energy("cpu", cpus=2, gpus=0)
    zone.write_text("3000000\n")
    assert job.spent() == {"cpu_joules": pytest.approx(2.0), "gpu_joules": None}
    job.stop()


def test_a_counter_that_may_not_be_read_says_nothing(zone: Path) -> None:
    job = Energy("cpu", cpus=2, gpus=0)
    zone.unlink()
    assert job.spent() == {"cpu_joules": None, "gpu_joules": None}
    job.stop()


def nvml(reads: list[int], found: int = 0) -> SimpleNamespace:
    def told(_: object, count: object) -> int:
        count._obj.value = reads.pop(0)
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByUUID=lambda uuid, _: found if uuid == b"GPU-ab-1" else 6,
        nvmlDeviceGetTotalEnergyConsumption=told,
    )


@pytest.mark.parametrize(
    ("library", "joules"), [(nvml([1000, 9000]), 2.0), (nvml([], found=3), None), (None, None)]
)
def test_a_job_has_its_part_of_a_gpu(
    library: object, joules: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: str) -> object:
        if library is None:
            raise OSError("no such library")
        return library

    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", load)
    one = SimpleNamespace(uuid="ab-1")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: one)
    assert Energy("cuda", cpus=1, gpus=0.25).spent()["gpu_joules"] == joules
