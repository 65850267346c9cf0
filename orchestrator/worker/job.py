"""Jobs: plain functions of a stage and a store, the same under Ray and in-process."""

from __future__ import annotations

import contextlib
import functools
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict

import torch
from torch import nn

from orchestrator.errors import OrchestratorError
from orchestrator.planning.attempt import Cause, Order, Outcome
from orchestrator.planning.plan import Job
from orchestrator.state import rows
from orchestrator.state.leases import Leases
from orchestrator.state.survey import ended_meanwhile
from orchestrator.worker.materialize import Maker
from orchestrator.worker.memory import PeakMemory, device_memory, device_name
from orchestrator.worker.timeout import time_limit
from prune_core.attacks import sanity
from prune_core.attacks.evaluation import evaluate
from prune_core.models.folding import Twin
from prune_core.specs.stages import Dense, Evaluation, Pruned, Rewound, Scores, Sensitivity, Trial
from results.errors import StorageIOError
from results.tables.storage import Storage


class DeviceError(OrchestratorError):
    """A device that this machine does not have."""


def resolve_device(device: str) -> str:
    """Return ``cuda`` or ``cpu`` for ``auto``; raise `DeviceError` for one that is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"device {device!r}: {error}") from error
    if wanted.type == "cuda" and not torch.cuda.is_available():
        raise DeviceError(f"device {device!r}: this machine has no CUDA device; use --device cpu")
    return device


def perform(order: Order, node: str | None = None) -> Outcome:
    """Do a job, write its row in ``jobs``, and say how it ended; errors do not leave it.

    ``node`` is the cluster's name of this machine. A job that takes longer than its limit ends
    with its process, its row written.
    """
    job, start, clock = order.job, rows.now(), time.perf_counter()
    _prepare_process(order)
    memory = PeakMemory(order.device)
    maker = Maker(Storage(order.root), torch.device(order.device), order.keep)
    try:
        if met := _met(order, maker):
            return met
    except StorageIOError as error:
        return Outcome(job.key, "failed", str(error), "storage")

    def write_row(status: str, cause: Cause | None, error: str | None) -> None:
        row = rows.job_row(
            order,
            start,
            status=status,
            cause=cause,
            error=error,
            node_id=node,
            accelerator=device_name(order.device),
            resumed_epoch=maker.resumed_epoch,
            seconds=time.perf_counter() - clock,
            peak_memory=memory.peak(),
            device_memory=device_memory(order.device),
        )
        maker.tables.write("jobs", f"{job.key}-{order.attempt}", [row])

    message: str | None = None
    cause: Cause | None = None
    try:
        with time_limit(order.time_limit, lambda where: write_row("failed", "time", where)):
            _do(job, maker)
        write_row("done", None, None)
    except Exception as error:
        message = "".join(traceback.format_exception_only(error)).strip()
        cause = _cause(error)
        # Where storage itself fails there is nowhere to say so but to the driver.
        with contextlib.suppress(StorageIOError):
            write_row("failed", cause, traceback.format_exc())
            if cause == "error":
                maker.drop_checkpoint(job.stage)
    return Outcome(
        job.key,
        "failed" if cause else "done",
        message,
        cause,
        time.perf_counter() - clock,
        memory.peak(),
        device_memory(order.device),
        node,
    )


def _met(order: Order, maker: Maker) -> Outcome | None:
    """Take the job's lease; say what follows where another driver has it, or did the job."""
    job = order.job
    if order.driver is None:
        return None
    if not Leases(maker.artifacts.storage, order.driver).take(job.lease):
        return Outcome(job.key, "elsewhere")
    ended = ended_meanwhile(job, maker.artifacts.storage, maker.tables) if order.first else None
    return ended if ended is not None and ended.status == "done" else None


def _cause(error: Exception) -> Cause:
    if isinstance(error, StorageIOError):
        return "storage"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "memory"
    return "system" if isinstance(error, OSError) else "error"


def _prepare_process(order: Order) -> None:
    """Make results independent of the process: how many threads add up decides the last bits."""
    torch.set_num_threads(1)
    if torch.device(order.device).type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        if order.share.gpus:
            # Ray only counts shares; this keeps a job from the memory of its neighbours.
            torch.cuda.set_per_process_memory_fraction(min(1.0, order.share.gpus))


def _do(job: Job, maker: Maker) -> None:
    """Do the job's stage and its evaluations."""
    stage = job.stage
    if isinstance(stage, Sensitivity):
        maker.sensitivity(stage)
    elif isinstance(stage, Scores):
        maker.scores(stage)
    elif isinstance(stage, Trial):
        _trial(stage, job, maker)
    elif isinstance(stage, Rewound):
        maker.network(stage)
    elif isinstance(stage, Dense | Pruned):
        present = maker.artifacts.has(stage.kind, stage.key)
        maker.rewinds = job.rewinds
        network = functools.cache(functools.partial(maker.network, stage))
        if not present:
            network()
        _evaluations(job.evaluations, network, maker)
    else:
        raise TypeError(f"no job is made of a stage {type(stage).__name__}")


def _evaluations(
    wanted: Iterable[Evaluation], network: Callable[[], nn.Module], maker: Maker
) -> list[rows.Row]:
    """Return the evaluations' rows; the network is made only where one is missing."""
    found: list[rows.Row] = []
    twin = functools.cache(lambda: Twin(network()))
    for evaluation in wanted:
        known = maker.tables.find("evaluations", evaluation.key)
        if known is None:
            known = [_evaluate(evaluation, network(), twin(), maker)]
        found += known
    return found


def _evaluate(evaluation: Evaluation, network: nn.Module, twin: Twin, maker: Maker) -> rows.Row:
    outcome = evaluate(network, maker.data(evaluation).test, evaluation, twin)
    row = rows.evaluation_row(evaluation, outcome.correct, outcome.accuracy, outcome.seconds)
    maker.tables.write("evaluations", evaluation.key, [row])
    return row


def _flags(trial: Trial, network: Callable[[], nn.Module], maker: Maker) -> list[str]:
    """Check the final network for false robustness; return the checks that it failed."""
    stage = trial.sanity
    if stage is None:
        return []
    known = maker.tables.find("checks", stage.key)
    if known is None:
        dense, test = maker.network(trial.dense), maker.data(stage).test
        found = sanity.check(network(), dense, test, stage)
        known = rows.check_rows(stage, map(asdict, found))
        maker.tables.write("checks", stage.key, known)
    return [row["check"] for row in known if not row["passed"]]


def _trial(trial: Trial, job: Job, maker: Maker) -> None:
    """Fine-tune, evaluate all three networks of the path, and write the trial's row."""
    measured: rows.Row = {}
    for stage in (trial.dense, trial.pruned):
        found = _evaluations(
            trial.evaluations(stage),
            functools.cache(functools.partial(maker.network, stage)),
            maker,
        )
        measured |= rows.metrics(rows.stage_name(stage), found)
    network = functools.cache(functools.partial(maker.network, trial.network))
    final = _evaluations(job.evaluations, network, maker)
    measured |= rows.metrics("finetuned", final)
    flags = _flags(trial, network, maker)
    facts = maker.pruning_facts(trial.pruned)["report"]
    achieved = {name: facts[name] for name in ACHIEVED}
    trained = [maker.epochs(stage) for stage in trial.trainings]
    row = {
        **rows.levels_row(trial, job.labels or {}),
        **rows.reported(trained, flags),
        **achieved,
        **measured,
        "status": "done",
        "error": None,
        "finetune_seconds": sum(epoch["seconds"] for epochs in trained for epoch in epochs),
        "evaluate_seconds": sum(row["seconds"] for row in final),
        "device": str(maker.device),
        "node": platform.node(),
        "torch": torch.__version__,
        "finished": rows.now(),
    }
    maker.tables.write("trials", trial.key, [row], over="failed")
    maker.drop_checkpoint(trial)
    _drop_rounds(trial, maker)


def _drop_rounds(trial: Trial, maker: Maker) -> None:
    """Drop what later rounds of an iterative pruning left, but for what the file keeps.

    The first round's pruning and scores are jobs of their own, and other trials' too.
    """
    for training_stage in trial.trainings[:-1]:
        pruned = training_stage.pruned
        for stage in filter(None, (pruned, pruned.scores, pruned.ranking)):
            if stage.kind not in maker.keep:
                maker.artifacts.drop(stage.kind, stage.key)


ACHIEVED = ("params", "macs", "params_removed", "macs_removed", "channels_removed", "shortfall")
