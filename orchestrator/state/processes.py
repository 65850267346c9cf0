"""Processes and machines: what tells them apart, and a clock that does not jump."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def steady() -> float:
    """Return seconds of a clock that never jumps, and goes on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def machine() -> str:
    """Return what tells machines, boots and containers apart; within one, a pid is unique."""
    parts = [platform.node()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        file = Path(path)
        if file.is_symlink():
            parts.append(str(file.readlink()))
        elif file.exists():
            parts.append(file.read_text().strip())
    return " ".join(parts)


def process(pid: int) -> str | None:
    """Return what tells a process from a later one with its pid; None where there is none."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.parent.parent.exists() and Path("/proc/self").exists():
            fields = stat.read_text().rpartition(")")[2].split()
            return None if fields[0] in "ZX" else f"{pid} {fields[19]}"
        os.kill(pid, 0)
    except (ProcessLookupError, FileNotFoundError):
        return None
    except PermissionError:
        pass  # it exists, and belongs to another user
    return str(pid)
