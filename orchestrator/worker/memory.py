"""Peak memory of one job, in a process that does many."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


class PeakMemory:
    """Follows the peak from where it is made: of the device on a GPU, else what is resident.

    Linux lets a process forget its peak; elsewhere the peak is that of the process so far.
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
            return torch.cuda.max_memory_allocated()
        if self._forgotten:
            for line in (PROCESS / "status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
