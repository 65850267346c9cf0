"""Jobs: plain functions of a stage and a store, the same under Ray and in-process."""

from __future__ import annotations

import contextlib
import functools
import platform
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict

import torch

from orchestrator.planning.attempt import AttemptResult, Cause, Order
from orchestrator.planning.plan import Job
from orchestrator.state import rows
from orchestrator.state.artifacts import Artifacts
from orchestrator.state.leases import Leases
from orchestrator.state.patience import storage_at
from orchestrator.state.progress import behind, trainings
from orchestrator.state.survey import ended_meanwhile
from orchestrator.worker.checkpoints import Checkpoints
from orchestrator.worker.device import device_memory, device_name, prepare_process
from orchestrator.worker.energy import Energy
from orchestrator.worker.evaluating import Known, Subject, evaluations
from orchestrator.worker.materialize import Materializer
from orchestrator.worker.memory import PeakMemory
from orchestrator.worker.provenance import provenance
from orchestrator.worker.skew import differing
from orchestrator.worker.telling import Tell, Telling, first_beat, unheard
from orchestrator.worker.timeout import time_limit
from prune_core.attacks import sanity
from prune_core.errors import CheckpointError, DatasetError
from prune_core.exports import latency
from prune_core.guard import guarded
from prune_core.specs.stages import Dense, Pruned, Trial
from results.errors import StorageIOError
from results.tables.store import Tables


def perform(
    order: Order,
    node: str | None = None,
    tell: Tell = unheard,
    leaving: threading.Event | None = None,
) -> AttemptResult:
    """Do a job, write its row in ``jobs``, and say how it ended; errors do not leave it.

    A job that takes longer than its limit ends with its process, its row written.

    Args:
        order: What is to be done.
        node: The cluster's name of this machine.
        tell: Is told how far the job is.
        leaving: Set once this process is about to be ended.
    """
    job, start, clock = order.job, rows.now(), time.perf_counter()
    telling = Telling(first_beat(order, node), tell)
    if others := differing(order.methods):
        error = f"it has other code than the driver for {', '.join(others)}"
        return AttemptResult(job.key, "failed", error, "skew", node=node)
    try:
        prepare_process(order.device, order.allotment.gpus)
        memory = PeakMemory(order.device)
    except Exception as fault:  # torch has many; all are of this machine's device
        return AttemptResult(job.key, "failed", _words(fault), "system", node=node)
    tables = Tables(storage_at(order.root, order.patience), f"{job.key}-{order.attempt}")
    checkpoints = Checkpoints(Artifacts(tables.storage), order.checkpoint_every, leaving)
    device = torch.device(order.device)
    materializer = Materializer(tables, device, order.keep, telling, checkpoints)
    try:
        if met := _met(order, materializer):
            return met
        begun, resumed_epoch = behind(job.stage, materializer.artifacts)
        if not begun:
            materializer.fresh = frozenset(each.key for each in trainings(job.stage))
    except StorageIOError as error:
        return AttemptResult(job.key, "failed", str(error), "storage", node=node)
    telling.say(resumed_epoch=resumed_epoch)
    energy = Energy(order.device, order.allotment.cpus, order.allotment.gpus)

    def write_row(status: str, cause: Cause | None, error: str | None, **counted: float) -> None:
        row = rows.job_row(
            order,
            start,
            status=status,
            cause=cause,
            error=error,
            node_id=node,
            accelerator=device_name(order.device),
            resumed_epoch=resumed_epoch,
            seconds=time.perf_counter() - clock,
            peak_memory=memory.peak(),
            device_memory=device_memory(order.device),
            **energy.spent(),
            **counted,
        )
        tables.write("jobs", [row])
        tables.commit()

    message: str | None = None
    cause: Cause | None = None
    try:
        with (
            guarded() if order.guarded else contextlib.nullcontext(),
            time_limit(order.time_limit, lambda where: write_row("failed", "time", where)),
            checkpoints,
        ):
            _do(order, materializer)
        images = len(materializer.data(job.stage).train)
        write_row("done", None, None, images=images, work=job.work.over(images))
        _clean_up(job, materializer)
    except Exception as error:
        message = _words(error)
        cause = _cause(error)
        # Where storage itself fails there is nowhere to say so but to the driver.
        with contextlib.suppress(StorageIOError):
            if cause != "storage":
                write_row("failed", cause, traceback.format_exc())
            if cause == "error":
                checkpoints.drop(job.stage)
    finally:
        energy.stop()
    return AttemptResult(
        job.key,
        "failed" if cause else "done",
        message,
        cause,
        time.perf_counter() - clock,
        memory.peak(),
        device_memory(order.device),
        node,
        tables.committed,
    )


def _met(order: Order, materializer: Materializer) -> AttemptResult | None:
    """Take the job's lease; say what follows where another driver has it, or did the job."""
    job = order.job
    if order.driver is None:
        return None
    storage = materializer.artifacts.storage
    leases = Leases(storage, order.driver)
    if not leases.take(job.lease):
        return AttemptResult(job.key, "elsewhere")
    if not order.first or leases.alone():
        return None
    ended = ended_meanwhile(job, storage, materializer.tables)
    return ended if ended is not None and ended.status == "done" else None


def _words(error: Exception) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


def _cause(error: Exception) -> Cause:
    if isinstance(error, StorageIOError):
        return "storage"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    if isinstance(
        error, OSError | ImportError | DatasetError | CheckpointError
    ) or "CUDA error" in str(error):
        return "system"  # of this node: another one may have what is missing here
    return "error"


def _do(order: Order, materializer: Materializer) -> None:
    """Do the job's stage and its evaluations."""
    job, known = order.job, order.known
    stage = job.stage
    if isinstance(stage, Trial):
        _trial(stage, job, known, materializer)
    elif isinstance(stage, Dense | Pruned):
        present = materializer.artifacts.has(stage.kind, stage.key)
        made = None if present else materializer.computed(stage, job.rewinds)
        subject = Subject(lambda: made or materializer.network(stage))
        evaluations(job.evaluations, subject, known, materializer)
    else:
        materializer.make(stage)


def _flags(
    trial: Trial, subject: Subject, evaluated: Sequence[rows.Row], materializer: Materializer
) -> list[str]:
    """Check the final network for false robustness; return the checks that it failed."""
    stage = trial.sanity
    if stage is None:
        return []
    known = materializer.tables.find("checks", stage.key)
    if known is None:
        dense, test = materializer.network(trial.dense), materializer.data(stage).test
        told = {row["attack"]: rows.outcomes(row) for row in evaluated}
        checks = sanity.check(subject.network, dense, test, stage, told, subject.twin)
        known = rows.check_rows(stage, map(asdict, checks))
        materializer.tables.write("checks", known)
    return [row["check"] for row in known if not row["passed"]]


def _trial(trial: Trial, job: Job, known: Known, materializer: Materializer) -> None:
    """Fine-tune, evaluate all three networks of the path, and write the trial's row."""
    measured: rows.Row = {}
    for stage in (trial.dense, trial.pruned):
        subject = Subject(functools.partial(materializer.network, stage))
        evaluated = evaluations(trial.evaluations(stage), subject, known, materializer)
        measured |= rows.metrics(str(stage.network_word), evaluated)
    subject = Subject(functools.partial(materializer.network, trial.network))
    final = evaluations(job.evaluations, subject, known, materializer)
    measured |= rows.metrics("finetuned", final)
    flags = _flags(trial, subject, final, materializer)
    facts = materializer.pruning_facts(trial.pruned)["report"]
    achieved = {name: facts.get(name) for name in ACHIEVED}
    trained = [materializer.epochs(stage) for stage in trial.trainings]
    data = materializer.data(trial)
    row = {
        **rows.levels_row(trial, job.labels or {}),
        "classes": data.classes,
        "train_images": len(data.train),
        **rows.reported(trained, flags),
        **achieved,
        **measured,
        **_latencies(trial, subject, materializer),
        "status": "done",
        "error": None,
        "finetune_seconds": sum(epoch["seconds"] for epochs in trained for epoch in epochs),
        "evaluate_seconds": sum(row["seconds"] for row in final),
        "device": str(materializer.device),
        "node": platform.node(),
        **provenance(str(materializer.device)),
        "finished": rows.now(),
    }
    materializer.tables.write("trials", [row])


def _latencies(trial: Trial, subject: Subject, materializer: Materializer) -> rows.Row:
    """Measure the final network and the dense one, where that is asked for."""
    if "latency" not in (trial.measure or ()):
        return {}
    shape = materializer.data(trial).shape
    final = latency.measure(subject.network, shape)
    dense = latency.measure(materializer.network(trial.dense), shape)
    times: rows.Row = {f"latency_{each.batch}": each.seconds for each in final}
    times["weight_bytes"] = latency.weight_bytes(subject.network)
    pairs = zip(final, dense, strict=True)
    return times | {f"speedup_{one.batch}": whole.seconds / one.seconds for one, whole in pairs}


def _clean_up(job: Job, materializer: Materializer) -> None:
    """Drop what a trial that is done leaves, but for what the file keeps.

    Of an iterative pruning, the first round's pruning and scores are jobs of their own, and other
    trials' too.
    """
    trial = job.stage
    if not isinstance(trial, Trial):
        return
    materializer.checkpoints.drop(trial)
    for training_stage in trial.trainings[:-1]:
        pruned = training_stage.pruned
        for stage in filter(None, (pruned, pruned.scores, pruned.ranking)):
            if stage.kind not in materializer.keep:
                materializer.artifacts.drop(stage.kind, stage.key)


ACHIEVED = (
    "params", "macs", "params_removed", "macs_removed", "channels_removed", "kept_units",
    "shortfall",
)  # fmt: skip
"""What a pruning reports that is a column of ``trials``; older reports have not all of it."""
