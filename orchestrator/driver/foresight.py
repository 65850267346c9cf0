"""Foresight: what jobs are to take of a GPU, before any job like them has run there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator

from orchestrator.driver.allotment import Allotments, Likeness, likeness
from orchestrator.planning.plan import Job
from orchestrator.planning.work import measuring_form, measurings_of
from prune_core.specs.stages import Rewound, Trial, dense_of

IN_ALL = 60.0
"""Seconds for all of them together; jobs for which there is no time begin with a whole GPU."""
TELLING = {"objective", "optimizer", "averaging", "selection", "attack_mode", "batch_size"}
"""Settings of a training on which its memory depends."""
ASK = (
    "import torch; c = torch.cuda; "
    "print(min(c.get_device_properties(i).total_memory for i in range(c.device_count())))"
)


def gpu_memory() -> int | None:
    """Return the bytes of this machine's smallest GPU; None if there is none.

    Another process asks for it: a CUDA context would stay in this one.
    """
    command = [sys.executable, "-c", ASK]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this interpreter, and words of ours
    return int(asked.stdout) if asked.returncode == 0 else None


def foresee(jobs: Iterable[Job], allotments: Allotments) -> Iterator[str]:
    """Predict what jobs take whose shares are to be found, and were not measured.

    Args:
        jobs: The jobs.
        allotments: Learns it; of what cannot be predicted, nothing.

    Yields:
        What cannot be predicted, and why.
    """
    asked: dict[Likeness, dict[Hashable, Job]] = defaultdict(dict)
    for job in jobs:
        if allotments.unknown(job):
            asked[likeness(job)].setdefault(_form(job), job)
    end = time.perf_counter() + IN_ALL
    for like, forms in asked.items():
        found = list[int]()
        for job in forms.values():
            if time.perf_counter() > end:
                return
            try:
                found.append(_peak(job))
            except Exception as error:  # users' methods may do anything; their jobs run without
                yield f"memory of {job.kind} {job.architecture} is not predicted: {error!r}"
        if len(found) == len(forms):
            allotments.foresee(like, max(found))


def _peak(job: Job) -> int:
    # These import torch, which may not be needed.
    from orchestrator.worker.memory import CONTEXT
    from orchestrator.worker.peaks.jobs import job_peak

    return job_peak(job) + CONTEXT


def _form(job: Job) -> Hashable:
    """Return what jobs that are alike may differ in, of what their memory depends on."""
    stage = job.stage.network if isinstance(job.stage, Rewound) else job.stage
    parts = stage.trainings if isinstance(stage, Trial) else [stage]
    trainings = [getattr(part, "training", None) for part in parts]
    told = (each.model_dump(include=TELLING) if each else {} for each in trainings)
    precisions = [getattr(part, "compute", None) for part in parts]
    granularity = (job.labels or {}).get("granularity")
    measured = {measuring_form(each) for each in measurings_of(stage)}
    extra = dense_of(stage).dataset.extra
    return job.attacks, granularity, repr([*told, precisions, sorted(measured), extra])
