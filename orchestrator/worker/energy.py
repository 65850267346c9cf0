"""The energy of one job, by the counters of processors (RAPL) and GPUs (NVML), where they tell.

A counter is of a whole processor or GPU: a job has the part of it that it was given, idle power and
all. Where nothing may be read, which is usual for RAPL without privileges, nothing is said.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
LIBRARY = "libnvidia-ml.so.1"
OFTEN = 30.0
"""Seconds between two looks at a counter that starts again: at 1,000 W it does after some 260."""
Counter = Callable[[], float | None]
"""Joules since some moment; None where the counter does not tell."""


class Energy:
    """Follows a job from where it is made."""

    def __init__(self, device: str, cpus: float, gpus: float):
        self._cpus = cpus / (os.cpu_count() or 1)
        self._gpus = gpus or 1.0
        self._processors = [Zone(zone) for zone in _zones()]
        self._gpu = _gpu_counter(device)
        self._gpu_before = self._gpu() if self._gpu else None
        self._ended, self._lock = threading.Event(), threading.Lock()
        if self._processors:
            threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """End the looks at counters that start again."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(OFTEN):
            self._look()

    def _look(self) -> list[float | None]:
        with self._lock:
            return [zone.look() for zone in self._processors]

    def spent(self) -> dict[str, float | None]:
        """Return the columns ``cpu_joules`` and ``gpu_joules`` of ``jobs``, up to now."""
        parts = self._look()
        known = [part for part in parts if part is not None]
        whole = bool(known) and len(known) == len(parts)
        return {
            "cpu_joules": self._cpus * sum(known) if whole else None,
            "gpu_joules": self._of_gpu(),
        }

    def _of_gpu(self) -> float | None:
        after = self._gpu() if self._gpu else None
        if after is None or self._gpu_before is None:
            return None
        return self._gpus * (after - self._gpu_before)


class Zone:
    """The counter of one processor: microjoules, which start again at a largest number."""

    def __init__(self, folder: Path):
        self._file = folder / "energy_uj"
        self._range = _number(folder / "max_energy_range_uj") or 0
        self._last = _number(self._file)
        self._joules = 0.0

    def look(self) -> float | None:
        """Return the joules since it was made; None where it cannot be read."""
        now = _number(self._file)
        if now is None or self._last is None:
            self._last = None
            return None
        step = now - self._last
        self._joules += (step if step >= 0 else step + self._range) / 1e6
        self._last = now
        return self._joules


def _zones() -> list[Path]:
    """Return the folders of whole processors; those within them are their parts."""
    return [zone for zone in sorted(POWERCAP.glob("intel-rapl:*")) if zone.name.count(":") == 1]


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # since 2020 only root may read it
        return None


def _gpu_counter(device: str) -> Counter | None:
    """Return the counter of a GPU; None on a CPU, and where NVML does not know the GPU."""
    if torch.device(device).type != "cuda":
        return None
    handle, count = ctypes.c_void_p(), ctypes.c_ulonglong()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        nvml = ctypes.CDLL(LIBRARY)
        begin, find, told = (
            nvml.nvmlInit_v2,
            nvml.nvmlDeviceGetHandleByUUID,
            nvml.nvmlDeviceGetTotalEnergyConsumption,
        )
    except (OSError, AttributeError):  # no driver, or one from before it counted
        return None
    if begin() or find(uuid.encode(), ctypes.byref(handle)):
        return None

    def joules() -> float | None:
        """Return millijoules since the driver was loaded, as joules."""
        return None if told(handle, ctypes.byref(count)) else count.value / 1000

    return joules
