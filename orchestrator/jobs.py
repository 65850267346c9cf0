"""Jobs: plain functions of a stage and a store, the same under Ray and in-process.

A job asks for the networks it starts from by stage; what is in storage is loaded, and what is
missing or damaged is computed on the spot. The scheduler's order only makes sure that two jobs
seldom need the same thing at once.
"""

from __future__ import annotations

import platform
import resource
import time
import traceback
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator import rows
from orchestrator.artifacts import CHECKPOINT, NETWORK, SCORES, Artifacts
from orchestrator.launch import Outcome
from orchestrator.plan import Job
from prune_core import (
    architectures,
    datasets,
    masks,
    pruning,
    scoring,
    sensitivities,
    training,
)
from prune_core.evaluation import evaluate
from prune_core.identity import derive_seed
from prune_core.modules import Structure
from prune_core.registry import POLICIES
from prune_core.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Scores,
    Sensitivity,
    Stage,
    Trial,
    dense_of,
)
from results.storage import Storage
from results.store import Tables

RETRIED = (OSError, MemoryError, torch.OutOfMemoryError)
"""Errors that another attempt may not meet; every other error would come again."""


class DeviceError(ValueError):
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


def perform(job: Job, root: str, device: str, keep: tuple[str, ...], attempt: int) -> Outcome:
    """Do a job, write its row in ``jobs``, and say how it ended; errors do not leave it."""
    start = rows.now()
    clock = time.perf_counter()
    _prepare_process(device)
    work = _Work(Storage(root), torch.device(device), keep)
    try:
        work.do(job)
        outcome = Outcome(job.key, "done", seconds=time.perf_counter() - clock)
        trace = None
    except Exception as error:
        message = "".join(traceback.format_exception_only(error)).strip()
        trace = traceback.format_exc()
        retry = isinstance(error, RETRIED)
        outcome = Outcome(job.key, "failed", message, retry, time.perf_counter() - clock)
        if not retry:
            work.drop_checkpoint(job.stage)
    row = rows.job_row(
        job,
        attempt,
        start,
        status=outcome.status,
        error=trace,
        device=device,
        resumed_epoch=work.resumed_epoch,
        peak_memory=_peak_memory(device),
    )
    work.tables.write("jobs", f"{job.key}-{attempt}", [row])
    return outcome


def _prepare_process(device: str) -> None:
    """Make results independent of the process: how many threads add up decides the last bits."""
    torch.set_num_threads(1)
    if torch.device(device).type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.cuda.reset_peak_memory_stats()


def _peak_memory(device: str) -> int:
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Work:
    """What one job works with: a store, a device, and the note of what it went on from."""

    def __init__(self, storage: Storage, device: torch.device, keep: tuple[str, ...]):
        self.artifacts = Artifacts(storage)
        self.tables = Tables(storage)
        self.device = device
        self.keep = keep
        self.resumed_epoch = 0

    def do(self, job: Job) -> None:
        """Do the job's stage and its evaluations."""
        stage = job.stage
        if isinstance(stage, Sensitivity):
            self.sensitivity(stage)
        elif isinstance(stage, Scores):
            self.scores(stage)
        elif isinstance(stage, Trial):
            self.trial(stage, job)
        elif isinstance(stage, Dense | Pruned):
            present = self.artifacts.has(stage.kind, stage.key)
            self.evaluations(stage, job.evaluations, None if present else self.network(stage))
        else:
            raise TypeError(f"no job is made of a stage {type(stage).__name__}")

    # Networks: loaded where they are in storage, computed where they are not.

    def network(self, stage: Dense | Pruned | Finetuned) -> nn.Module:
        """Return a stage's network on the device, in eval mode."""
        found = self._stored(stage)
        if found is None:
            found = self._computed(stage)
        return found.eval()

    def _computed(self, stage: Dense | Pruned | Finetuned) -> nn.Module:
        if isinstance(stage, Dense):
            return self._dense(stage)
        return self._pruned(stage) if isinstance(stage, Pruned) else self._finetuned(stage)

    def _stored(self, stage: Dense | Pruned | Finetuned) -> nn.Module | None:
        stored = self.artifacts.load(stage.kind, stage.key, NETWORK)
        if stored is None:
            return None
        tensors, facts = stored
        network = self._blank(stage)
        if not isinstance(stage, Dense):
            pruned = stage if isinstance(stage, Pruned) else stage.pruned
            shape = self._data(stage).shape
            pruning.rebuild(network, shape, pruned.granularity, facts["structure"])
        network.load_state_dict(tensors)
        return network.to(self.device)

    def _save(
        self, stage: Stage, network: nn.Module, structure: Structure | None, **facts: Any
    ) -> None:
        facts["structure"] = structure
        self.artifacts.save(stage.kind, stage.key, NETWORK, dict(network.state_dict()), facts)

    def _dense(self, stage: Dense) -> nn.Module:
        network = self._blank(stage).to(self.device)
        self._fit(stage, network)
        self._save(stage, network, None)
        self.drop_checkpoint(stage)
        return network

    def _pruned(self, stage: Pruned) -> nn.Module:
        network, shape = self.network(stage.network), self._data(stage).shape
        origin = None
        if isinstance(stage.network, Finetuned):
            origin = pruning.origin_of(self._blank(stage), shape, stage.granularity)
        structure, report = pruning.prune(
            network,
            shape,
            stage,
            self.scores(stage.scores, network),
            self.scores(stage.ranking, network) if stage.ranking else None,
            self.sensitivity(stage.sensitivity) if stage.sensitivity else None,
            origin,
        )
        if isinstance(stage.network, Finetuned):
            before = self.pruning_facts(stage.network.pruned)["structure"]
            structure = pruning.compose(before, structure)
        facts = asdict(report)
        self._save(stage, network, structure, report=facts)
        self.tables.write("modules", stage.key, rows.module_rows(stage, facts["modules"]))
        return network

    def _finetuned(self, stage: Finetuned) -> nn.Module:
        network = self.network(stage.pruned)
        policy = POLICIES.load(stage.policy)
        policy(network, derive_seed(stage.key, "policy"))
        masks.hold(masks.masked(network))
        self._fit(stage, network)
        if "finetune" in self.keep:
            self._save(stage, network, self.pruning_facts(stage.pruned)["structure"])
        return network

    def _fit(self, stage: Dense | Finetuned, network: nn.Module) -> None:
        stored = self.artifacts.load(stage.kind, stage.key, CHECKPOINT)
        checkpoint = training.Checkpoint.of(*stored) if stored else None
        self.resumed_epoch = len(checkpoint.history) if checkpoint else 0

        def keep(after: training.Checkpoint) -> None:
            self.artifacts.save(stage.kind, stage.key, CHECKPOINT, after.tensors, after.facts())

        data = self._data(stage)
        history = training.fit(
            network, data, stage.training, stage.threat, stage.key, checkpoint, keep
        )
        self.tables.write("epochs", stage.key, rows.epoch_rows(stage, map(asdict, history)))

    # What is measured of them.

    def sensitivity(self, stage: Sensitivity) -> dict[str, sensitivities.LayerSensitivity]:
        """Return every layer's sensitivity, from storage where it is there."""
        stored = self.artifacts.load_facts(stage.kind, stage.key)
        if stored is None:
            network = self.network(stage.network)
            layers = list(masks.maskable(network))
            found = sensitivities.measure(network, layers, self._data(stage), stage)
            stored = {name: asdict(value) for name, value in found.items()}
            self.artifacts.save_facts(stage.kind, stage.key, stored)
        return {
            name: sensitivities.LayerSensitivity(value["value"], tuple(value["restarts"]))
            for name, value in stored.items()
        }

    def scores(self, stage: Scores, network: nn.Module | None = None) -> dict[str, Tensor]:
        """Return every module's scores, from storage where they are there.

        Those that a look at the weights gives are not stored.
        """
        stored = self.artifacts.load(stage.kind, stage.key, SCORES)
        if stored is not None:
            return {name: tensor.to(self.device) for name, tensor in stored[0].items()}
        network = self.network(stage.network) if network is None else network
        data = self._data(stage)
        modules = pruning.anatomy_of(network, data.shape, stage.unit).modules
        found = scoring.score(network, data, modules, stage)
        if stage.needs_data:
            self.artifacts.save(stage.kind, stage.key, SCORES, found, {})
        return found

    def evaluations(
        self,
        stage: Dense | Pruned | Finetuned,
        wanted: tuple[Evaluation, ...],
        network: nn.Module | None = None,
    ) -> list[rows.Row]:
        """Return the evaluations' rows; the network is needed only where one is missing."""
        found: list[rows.Row] = []
        for evaluation in wanted:
            known = self.tables.find("evaluations", evaluation.key)
            if known is None:
                network = self.network(stage) if network is None else network
                known = [self._evaluate(evaluation, network)]
            found += known
        return found

    def _evaluate(self, evaluation: Evaluation, network: nn.Module) -> rows.Row:
        outcome = evaluate(network, self._data(evaluation).test, evaluation)
        row = rows.evaluation_row(evaluation, outcome.correct, outcome.accuracy, outcome.seconds)
        self.tables.write("evaluations", evaluation.key, [row])
        return row

    def pruning_facts(self, stage: Pruned) -> dict[str, Any]:
        """Return what the pruning reported, pruning again where that is gone."""
        stored = self.artifacts.load(stage.kind, stage.key, NETWORK)
        if stored is None:
            self.network(stage)
            stored = self.artifacts.load(stage.kind, stage.key, NETWORK)
        if stored is None:
            raise OSError(f"the pruned network {stage.key} was written but cannot be read back")
        return stored[1]

    def trial(self, trial: Trial, job: Job) -> None:
        """Fine-tune, evaluate all three networks of the path, and write the trial's row."""
        measured: rows.Row = {}
        for stage in (trial.dense, trial.pruned):
            found = self.evaluations(stage, tuple(trial.evaluations(stage)))
            measured |= rows.metrics(rows.stage_name(stage), found)
        final = self.evaluations(trial.network, job.evaluations)
        measured |= rows.metrics("finetuned", final)
        facts = self.pruning_facts(trial.pruned)["report"]
        achieved = {name: facts[name] for name in ACHIEVED}
        trained = [self.tables.find("epochs", stage.key) or [] for stage in trial.trainings]
        row = {
            **rows.levels_row(trial, job.labels or {}),
            **achieved,
            **measured,
            "status": "done",
            "error": None,
            "finetune_seconds": sum(epoch["seconds"] for epochs in trained for epoch in epochs),
            "evaluate_seconds": sum(row["seconds"] for row in final),
            "device": str(self.device),
            "node": platform.node(),
            "torch": torch.__version__,
            "finished": rows.now(),
        }
        self.tables.write("trials", trial.key, [row], over="failed")
        self.drop_checkpoint(trial)
        self._drop_rounds(trial)

    def _drop_rounds(self, trial: Trial) -> None:
        """Drop what later rounds of an iterative pruning left, but for what the file keeps.

        The first round's pruning and scores are jobs of their own, and other trials' too.
        """
        for training_stage in trial.trainings[:-1]:
            pruned = training_stage.pruned
            for stage in filter(None, (pruned, pruned.scores, pruned.ranking)):
                if stage.kind not in self.keep:
                    self.artifacts.drop(stage.kind, stage.key)

    def drop_checkpoint(self, stage: Stage) -> None:
        """Remove the checkpoint of a training that is over, for good or ill."""
        trained = stage.trainings if isinstance(stage, Trial) else [stage]
        for training_stage in trained:
            if isinstance(training_stage, Dense | Finetuned):
                self.artifacts.drop(training_stage.kind, training_stage.key, CHECKPOINT)

    # Data and blank networks.

    def _data(self, stage: Stage) -> datasets.Dataset:
        return datasets.load(dense_of(stage).dataset, self.device)

    def _blank(self, stage: Stage) -> nn.Module:
        dense = dense_of(stage)
        data = self._data(stage)
        return architectures.build(
            dense.architecture,
            data.shape,
            data.classes,
            data.mean,
            data.std,
            derive_seed(dense.key, "initialisation"),
        )


ACHIEVED = ("params", "macs", "params_removed", "macs_removed", "channels_removed", "shortfall")
