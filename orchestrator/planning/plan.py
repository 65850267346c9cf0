"""Plans: the trials of a sweep and the jobs they need; a DAG, made without torch or ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.planning.cells import Cells
from orchestrator.planning.compatibility import contradictions
from orchestrator.planning.trials import Paths
from orchestrator.planning.work import Work, work_of
from orchestrator.sweepfile.model import Sweep, SweepFileError
from orchestrator.sweepfile.rules import Value
from prune_core.specs.settings import Threat
from prune_core.specs.stage import Stage
from prune_core.specs.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Rewound,
    Scores,
    Sensitivity,
    Trial,
    dense_of,
    evaluations_of,
)


@dataclass(frozen=True, slots=True)  # there may be 150,000
class Job:
    """One unit of work: a stage, what its network is evaluated on, and what must be done before."""

    stage: Stage
    parents: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    """What the job's network is evaluated by; nothing measures it where there are none."""
    threat: Threat | None = None
    """The threat of the attacks."""
    labels: Mapping[str, Value] | None = None
    """The trial's factor levels as the sweep names them."""
    rewinds: tuple[Rewound, ...] = ()
    """Of a dense network: as it was at which epochs other jobs start from."""

    @property
    def key(self) -> str:
        """The key of the job's stage."""
        return self.stage.key

    @property
    def kind(self) -> str:
        """One of dense, rewind, sensitivity, scores, prune and trial."""
        return self.stage.kind

    @property
    def lease(self) -> str:
        """What its lease is called: the key of the network that it makes.

        Trials of two sweeps that ask for other attacks on one network make that network both.
        """
        stage = self.stage
        made = stage.network if isinstance(stage, Trial) else stage
        return made.key if isinstance(made, Finetuned) else stage.key

    @property
    def architecture(self) -> str:
        """The architecture that the job works on."""
        return dense_of(self.stage).architecture

    @property
    def batch_size(self) -> int | None:
        """The images of its training steps; None where it trains nothing."""
        trained = self.stage.trainings[:1] if isinstance(self.stage, Trial) else []
        training = getattr(trained[0] if trained else self.stage, "training", None)
        return training.batch_size if training else None

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What is measured of the job's network."""
        network = self.stage.network if isinstance(self.stage, Trial) else self.stage
        if self.threat is None or not isinstance(network, Dense | Pruned | Finetuned):
            return ()
        return tuple(evaluations_of(network, self.attacks, self.threat))

    @property  # kept, it would be the larger part of a job's memory
    def work(self) -> Work:
        """How much it computes."""
        return work_of(self.stage, self.attacks)

    @property
    def weight(self) -> float:
        """How much it computes on images of a usual number."""
        return self.work.over(None)


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep by key, parents before children; trials are jobs too."""

    sweep: Sweep
    jobs: Mapping[str, Job]
    seeds: tuple[int, ...]
    guarded: bool = False
    """Whether methods of the user's own are refused that read what they are not given."""

    @cached_property
    def trials(self) -> dict[str, Job]:
        """The trials by id, in the order of the sweep file's cross product."""
        return {key: job for key, job in self.jobs.items() if job.kind == "trial"}

    @cached_property
    def varied(self) -> frozenset[str]:
        """The factors that tell trials apart: those with more than one level, and the seed."""
        levels = {**self.sweep.factors(), "seed": self.seeds}
        return frozenset(name for name, of in levels.items() if len(of) > 1)

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {}
        for key, job in self.jobs.items():
            for parent in job.parents:
                children.setdefault(parent, []).append(key)
        return children

    def children(self, key: str) -> Sequence[str]:
        """Return the jobs that wait for a job."""
        return self._children.get(key, ())

    @cached_property
    def path_weights(self) -> dict[str, float]:
        """The weight of the longest path that starts with each job: the order to start them in."""
        weights: dict[str, float] = {}
        for key in reversed(list(self.jobs)):
            after = max((weights[child] for child in self.children(key)), default=0.0)
            weights[key] = self.jobs[key].weight + after
        return weights

    def descendants(self, key: str) -> Iterator[str]:
        """Go through all jobs that cannot run without ``key``, each once."""
        seen: set[str] = set()
        stack = list(self.children(key))
        while stack:
            child = stack.pop()
            if child not in seen:
                seen.add(child)
                stack += self.children(child)
                yield child

    def stages(self) -> set[str]:
        """Return the keys of all stages that its trials go through, those that are jobs or not.

        Evaluations and checks are among them: a network may have been evaluated otherwise, for
        another sweep or by an older mrsweep.
        """
        keys: set[str] = set()
        stack = [job.stage for job in self.jobs.values()]
        while stack:
            stage = stack.pop()
            if stage.key not in keys:
                keys.add(stage.key)
                stack += stage.parents.values()
        keys |= {each.key for job in self.jobs.values() for each in job.evaluations}
        made = (job.stage.sanity for job in self.jobs.values() if isinstance(job.stage, Trial))
        return keys | {checks.key for checks in made if checks is not None}

    def rows(self) -> list[dict[str, Any]]:
        """Return ``plan.parquet``'s rows: the trials with their levels as the sweep names them."""
        return [{"trial_id": key, **(job.labels or {})} for key, job in self.trials.items()]


def make_plan(sweep: Sweep, count: int | None = None) -> Plan:
    """Return the plan of a sweep; with ``count``, at so many seeds of one that adds seeds.

    Raises:
        SweepFileError: Cells cannot work, two cells are the same trial, or no cell is left.
    """
    cells = Cells(sweep, sweep.blocks(count))
    if faults := contradictions(cells):
        raise SweepFileError([f"{sweep.name}: {fault}" for fault in faults])
    jobs: dict[str, Job] = {}
    trials: dict[str, Job] = {}
    again: list[str] = []
    paths = Paths(cells)
    for labels in cells:
        trial = paths.trial(labels)
        if trial.key in trials:
            again.append(f"{_levels(trials[trial.key].labels)} and {_levels(labels)}")
        else:
            trials[trial.key] = _enter(trial, labels, jobs)
    if again:
        raise SweepFileError([f"{sweep.name}: the same trial twice: {pair}" for pair in again])
    if not trials:
        raise SweepFileError([f"{sweep.name}: exclude leaves no cell"])
    for job in list(jobs.values()):
        if isinstance(job.stage, Rewound):
            dense = jobs[job.stage.network.key]
            jobs[dense.key] = replace(dense, rewinds=(*dense.rewinds, job.stage))
    return Plan(sweep, jobs | trials, cells.seeds)


def _enter(trial: Trial, labels: Mapping[str, Value], jobs: dict[str, Job]) -> Job:
    """Return a trial's job; enter those that must be done before, parents first.

    Later rounds of an iterative pruning are part of the trial's own job.
    """
    dense, trainings = trial.dense, trial.trainings
    first = trainings[-1].pruned if trainings else trial.pruned
    if dense.key not in jobs:
        jobs[dense.key] = Job(dense, (), trial.attacks, trial.threat)
    if first.key not in jobs:
        parents = [dense.key]
        for stage in (first.scores, first.ranking, first.sensitivity):
            if stage is not None and not (isinstance(stage, Scores) and not stage.needs_data):
                removed = stage.scores if isinstance(stage, Sensitivity) else None
                before = [removed.key] if removed is not None and removed.key in jobs else []
                jobs.setdefault(stage.key, Job(stage, (dense.key, *before)))
                parents.append(stage.key)
        jobs[first.key] = Job(first, tuple(parents))
    if first is trial.pruned and not jobs[first.key].attacks:  # not that of a first round alone
        jobs[first.key] = replace(jobs[first.key], attacks=trial.attacks, threat=trial.threat)
    parents = [first.key]
    if trial.sanity_images or any(stage.training.taught for stage in trainings):
        parents.append(dense.key)
    if isinstance(trial.network, Finetuned) and (rewound := trial.network.rewound) is not None:
        jobs.setdefault(rewound.key, Job(rewound, (dense.key,)))
        parents.append(rewound.key)
    return Job(trial, tuple(parents), trial.attacks, trial.threat, labels)


def _levels(labels: Mapping[str, Value] | None) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in (labels or {}).items())
