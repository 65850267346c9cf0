"""Jobs: plain functions of a stage and a store, the same under Ray and in-process.

A job asks for the networks it starts from by stage; what is in storage is loaded, and what is
missing or damaged is computed on the spot. The scheduler's order only makes sure that two jobs
seldom need the same thing at once.
"""

from __future__ import annotations

import functools
import platform
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator import rows
from orchestrator.artifacts import CHECKPOINT, NETWORK, SCORES, Artifacts
from orchestrator.launch import Outcome
from orchestrator.memory import PeakMemory
from orchestrator.plan import Job
from prune_core import (
    architectures,
    datasets,
    masks,
    pruning,
    sanity,
    scoring,
    sensitivities,
    training,
)
from prune_core.evaluation import evaluate
from prune_core.folding import Twin
from prune_core.history import Checkpoint
from prune_core.identity import derive_seed
from prune_core.modules import Structure
from prune_core.policies import Start
from prune_core.registry import POLICIES
from prune_core.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Rewound,
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
    memory = PeakMemory(device)
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
        peak_memory=memory.peak(),
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


Network = Dense | Rewound | Pruned | Finetuned


class _Work:
    """What one job works with: a store, a device, and the note of what it went on from."""

    def __init__(self, storage: Storage, device: torch.device, keep: tuple[str, ...]):
        self.artifacts = Artifacts(storage)
        self.tables = Tables(storage)
        self.device = device
        self.keep = keep
        self.resumed_epoch = 0
        self.rewinds: tuple[Rewound, ...] = ()
        """What is to be left behind of the dense network's way."""

    def do(self, job: Job) -> None:
        """Do the job's stage and its evaluations."""
        stage = job.stage
        if isinstance(stage, Sensitivity):
            self.sensitivity(stage)
        elif isinstance(stage, Scores):
            self.scores(stage)
        elif isinstance(stage, Trial):
            self.trial(stage, job)
        elif isinstance(stage, Rewound):
            self.network(stage)
        elif isinstance(stage, Dense | Pruned):
            present = self.artifacts.has(stage.kind, stage.key)
            self.rewinds = job.rewinds
            network = functools.cache(functools.partial(self.network, stage))
            if not present:
                network()
            self.evaluations(job.evaluations, network)
        else:
            raise TypeError(f"no job is made of a stage {type(stage).__name__}")

    # Networks: loaded where they are in storage, computed where they are not.

    def network(self, stage: Network) -> nn.Module:
        """Return a stage's network on the device, in eval mode."""
        found = self._stored(stage)
        if found is None:
            found = self._computed(stage)
        return found.eval()

    def _computed(self, stage: Network) -> nn.Module:
        if isinstance(stage, Dense):
            return self._dense(stage)
        if isinstance(stage, Rewound):
            return self._rewound(stage)
        return self._pruned(stage) if isinstance(stage, Pruned) else self._finetuned(stage)

    def _stored(self, stage: Network) -> nn.Module | None:
        stored = self.artifacts.load(stage.kind, stage.key, NETWORK)
        if stored is None:
            return None
        tensors, facts = stored
        network = self._blank(stage)
        if isinstance(stage, Pruned | Finetuned):
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
        for rewound in self.rewinds:
            if rewound.epoch == 0:
                self._save(rewound, network, None)
        self._fit(stage, network)
        self._save(stage, network, None)
        self.drop_checkpoint(stage)
        return network

    def _rewound(self, stage: Rewound) -> nn.Module:
        """Train the dense network again, as far as asked: its own job left nothing behind."""
        network, dense = self._blank(stage).to(self.device), stage.network
        training.fit(
            network,
            self._data(stage),
            dense.training,
            dense.threat,
            dense.key,
            compute=dense.compute,
            until=stage.epoch,
        )
        self._save(stage, network, None)
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
        policy(network, Start(derive_seed(stage.key, "policy"), self._rewound_alike(stage)))
        masks.hold(masks.masked(network))
        teacher = self.network(dense_of(stage)) if stage.training.taught else None
        self._fit(stage, network, teacher)
        if "finetune" in self.keep:
            self._save(stage, network, self.pruning_facts(stage.pruned)["structure"])
        return network

    def _rewound_alike(self, stage: Finetuned) -> nn.Module | None:
        """Return the dense network's earlier weights, pruned as the network is."""
        if stage.rewound is None:
            return None
        network = self.network(stage.rewound)
        pruned = stage.pruned
        structure = self.pruning_facts(pruned)["structure"]
        pruning.rebuild(network, self._data(stage).shape, pruned.granularity, structure)
        masks.take_masks(network, self.network(pruned))
        return network

    def _fit(
        self, stage: Dense | Finetuned, network: nn.Module, teacher: nn.Module | None = None
    ) -> None:
        stored = self.artifacts.load(stage.kind, stage.key, CHECKPOINT)
        checkpoint = Checkpoint.of(*stored) if stored else None
        self.resumed_epoch = len(checkpoint.history) if checkpoint else 0

        def keep(after: Checkpoint) -> None:
            for rewound in self.rewinds:
                if rewound.network.key == stage.key and rewound.epoch == len(after.history):
                    self._save(rewound, network, None)
            self.artifacts.save(stage.kind, stage.key, CHECKPOINT, after.tensors, after.facts())

        data = self._data(stage)
        history = training.fit(
            network,
            data,
            stage.training,
            stage.threat,
            stage.key,
            checkpoint,
            keep,
            stage.compute,
            teacher,
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
        self, wanted: Iterable[Evaluation], network: Callable[[], nn.Module]
    ) -> list[rows.Row]:
        """Return the evaluations' rows; the network is made only where one is missing."""
        found: list[rows.Row] = []
        twin = functools.cache(lambda: Twin(network()))
        for evaluation in wanted:
            known = self.tables.find("evaluations", evaluation.key)
            if known is None:
                known = [self._evaluate(evaluation, network(), twin())]
            found += known
        return found

    def _evaluate(self, evaluation: Evaluation, network: nn.Module, twin: Twin) -> rows.Row:
        outcome = evaluate(network, self._data(evaluation).test, evaluation, twin)
        row = rows.evaluation_row(evaluation, outcome.correct, outcome.accuracy, outcome.seconds)
        self.tables.write("evaluations", evaluation.key, [row])
        return row

    def flags(self, trial: Trial, network: Callable[[], nn.Module]) -> list[str]:
        """Check the final network for false robustness; return the checks that it failed."""
        stage = trial.sanity
        if stage is None:
            return []
        known = self.tables.find("checks", stage.key)
        if known is None:
            dense, test = self.network(trial.dense), self._data(stage).test
            found = sanity.check(network(), dense, test, stage)
            known = rows.check_rows(stage, map(asdict, found))
            self.tables.write("checks", stage.key, known)
        return [row["check"] for row in known if not row["passed"]]

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
            found = self.evaluations(
                trial.evaluations(stage), functools.cache(functools.partial(self.network, stage))
            )
            measured |= rows.metrics(rows.stage_name(stage), found)
        network = functools.cache(functools.partial(self.network, trial.network))
        final = self.evaluations(job.evaluations, network)
        measured |= rows.metrics("finetuned", final)
        flags = self.flags(trial, network)
        facts = self.pruning_facts(trial.pruned)["report"]
        achieved = {name: facts[name] for name in ACHIEVED}
        trained = [self.tables.find("epochs", stage.key) or [] for stage in trial.trainings]
        row = {
            **rows.levels_row(trial, job.labels or {}),
            **rows.reported(trained, flags),
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
