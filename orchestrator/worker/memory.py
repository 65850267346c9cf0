"""Peak memory of one job, in a process that does many."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import torch

PROCESS = Path("/proc/self")
CONTEXT = 768 * 2**20
"""Bytes of a GPU that a process takes besides torch's pools: its context, and the kernels and
workspaces of libraries. An assumption on the safe side, for torch does not count them and NVML does
not tell a container what is its own."""


def pool_share(gpus: float, total: int) -> float:
    """Return the part of a GPU that torch's pools of one process may take.

    Args:
        gpus: The part that the process may use in all, over 0.
        total: Bytes that the GPU has.
    """
    if gpus >= 1:
        return 1.0
    return max(gpus - CONTEXT / total, gpus / 2)  # of a small part, half is left to compute in


class PeakMemory:
    """Follows the peak from where it is made: of the device on a GPU, else what is resident.

    On a GPU it is what torch reserves, in use or not, and the context: neighbours have neither. On
    a CPU, Linux lets a process forget its peak; elsewhere the peak is that of the process so far.
    """

    def __init__(self, device: str):
        self._cuda = torch.device(device).type == "cuda"
        self._forgotten = False
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
            return
        forget = PROCESS / "clear_refs"
        if forget.exists():
            # A sandbox may forbid it; the process's peak is then an upper bound.
            with contextlib.suppress(OSError):
                forget.write_text("5")
                self._forgotten = True

    def peak(self) -> int:
        """Return the peak in bytes."""
        if self._cuda:
            return torch.cuda.max_memory_reserved() + CONTEXT
        if self._forgotten:
            for line in (PROCESS / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
