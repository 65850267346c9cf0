"""Plans: the trials of a sweep and the jobs they need; a DAG, made without torch or ray."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.sweepfile import Sweep, SweepFileError, Value
from prune_core.registry import ALLOCATIONS, CRITERIA
from prune_core.specs import Estimation, FinetuningLevel, PruningRules
from prune_core.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Sensitivity,
    Stage,
    Trial,
    digests,
)


@dataclass(frozen=True)
class Job:
    """One unit of work: a stage, what its network is evaluated on, and what must be done before."""

    stage: Stage
    parents: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    labels: Mapping[str, Value] | None = None
    """The trial's factor levels as the sweep names them."""

    @property
    def key(self) -> str:
        """The key of the job's stage."""
        return self.stage.key

    @property
    def kind(self) -> str:
        """One of dense, sensitivity, prune and trial."""
        return self.stage.kind

    @property
    def architecture(self) -> str:
        """The architecture that the job works on."""
        return dense_of(self.stage).architecture

    @cached_property
    def weight(self) -> float:
        """Roughly how long it takes, in passes over the training images."""
        return _passes(self.stage)


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep by key, parents before children; trials are jobs too."""

    sweep: Sweep
    jobs: Mapping[str, Job]

    @cached_property
    def trials(self) -> dict[str, Job]:
        """The trials by id, in the order of the sweep file's cross product."""
        return {key: job for key, job in self.jobs.items() if job.kind == "trial"}

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The jobs that wait for each job."""
        found: dict[str, list[str]] = {key: [] for key in self.jobs}
        for key, job in self.jobs.items():
            for parent in job.parents:
                found[parent].append(key)
        return found

    @cached_property
    def path_weights(self) -> dict[str, float]:
        """The weight of the longest path that starts with each job: the order to start them in."""
        found: dict[str, float] = {}
        for key in reversed(list(self.jobs)):
            after = max((found[child] for child in self.children[key]), default=0.0)
            found[key] = self.jobs[key].weight + after
        return found

    def descendants(self, key: str) -> Iterator[str]:
        """Go through all jobs that cannot run without ``key``, each once."""
        seen: set[str] = set()
        stack = list(self.children[key])
        while stack:
            child = stack.pop()
            if child not in seen:
                seen.add(child)
                stack += self.children[child]
                yield child

    def rows(self) -> list[dict[str, Any]]:
        """Return ``plan.parquet``'s rows: the trials with their levels as the sweep names them."""
        return [{"trial_id": key, **(job.labels or {})} for key, job in self.trials.items()]


def make_plan(sweep: Sweep) -> Plan:
    """Return the plan of a sweep. Raises `SweepFileError` where two cells are the same trial."""
    jobs: dict[str, Job] = {}
    trials: dict[str, Job] = {}
    again: list[str] = []
    for labels in cells(sweep):
        trial = make_trial(sweep, labels)
        for job in _path(trial, labels):
            if job.kind != "trial":
                jobs.setdefault(job.key, job)
            elif job.key in trials:
                again.append(f"{_levels(trials[job.key].labels)} and {_levels(labels)}")
            else:
                trials[job.key] = job
    if again:
        raise SweepFileError([f"{sweep.name}: the same trial twice: {pair}" for pair in again])
    if not trials:
        raise SweepFileError([f"{sweep.name}: exclude leaves no cell over"])
    return Plan(sweep, jobs | trials)


def cells(sweep: Sweep) -> Iterator[dict[str, Value]]:
    """Go through all cells that are not excluded, at every seed, as levels by factor."""
    factors = {**sweep.factors(), "seed": sweep.seeds}
    for levels in itertools.product(*factors.values()):
        labels = dict(zip(factors, levels, strict=True))
        if not any(_matches(rule, labels) for rule in sweep.exclude):
            yield labels


def make_trial(sweep: Sweep, labels: Mapping[str, Value]) -> Trial:
    """Return the trial of one cell at one seed, every default and override written out."""
    settings = _settings(sweep, labels)
    training = settings["dense"].resolved()
    architecture, criterion = str(labels["architecture"]), str(labels["criterion"])
    dense = Dense(
        dataset=sweep.dataset,
        architecture=architecture,
        training=training,
        threat=sweep.threat if training.adversarial else None,
        seed=int(labels["seed"]),
        outside=digests(
            datasets=sweep.dataset.name, architectures=architecture, objectives=training.objective
        ),
    )
    allocation = str(labels["allocation"])
    rules: PruningRules = settings["pruning"]
    sensitivity = _sensitivity(dense, allocation, settings["sensitivity"], sweep)
    gradients = "gradients" in CRITERIA[criterion].needs
    pruned = Pruned(
        dense=dense,
        sensitivity=sensitivity,
        criterion=criterion,
        calibration=rules.calibration if gradients else None,
        allocation=allocation,
        sparsity=float(labels["sparsity"]),
        budget=sweep.budget,
        min_keep=rules.min_keep,
        mrs_exponent=rules.mrs_exponent if sensitivity else None,
        outside=digests(criteria=criterion, allocations=allocation),
    )
    network = _finetuned(pruned, settings["finetuning"], sweep)
    return Trial(network=network, attacks=sweep.evaluation.attacks, threat=sweep.threat)


def _sensitivity(
    dense: Dense, allocation: str, estimation: Estimation, sweep: Sweep
) -> Sensitivity | None:
    """Return the sensitivity that an allocation asks for with the need ``sensitivity:NAME``."""
    needs = [need.partition(":")[2] for need in ALLOCATIONS[allocation].needs if ":" in need]
    if not needs:
        return None
    return Sensitivity(
        dense=dense,
        estimator=needs[0],
        estimation=estimation,
        threat=sweep.threat,
        outside=digests(sensitivities=needs[0]),
    )


def _finetuned(pruned: Pruned, level: FinetuningLevel, sweep: Sweep) -> Pruned | Finetuned:
    if level.policy == "none":
        return pruned
    training = level.training()
    return Finetuned(
        pruned=pruned,
        policy=level.policy,
        training=training,
        threat=sweep.threat if training.adversarial else None,
        outside=digests(policies=level.policy, objectives=training.objective),
    )


def _settings(sweep: Sweep, labels: Mapping[str, Value]) -> dict[str, Any]:
    """Return the settings of one cell by section, the matching overrides applied in order."""
    found: dict[str, Any] = {
        "dense": sweep.dense[str(labels["dense"])],
        "finetuning": sweep.finetuning[str(labels["finetuning"])],
        "sensitivity": sweep.sensitivity,
        "pruning": sweep.pruning,
    }
    for override in sweep.overrides:
        if _matches(override.where, labels):
            for name, value in override.set.items():
                section, _, field = name.partition(".")
                current = found[section]
                data = {**current.model_dump(), field: value}
                found[section] = type(current).model_validate(data)
    return found


def _matches(rule: Mapping[str, Value], labels: Mapping[str, Value]) -> bool:
    return all(labels[factor] == level for factor, level in rule.items())


def _path(trial: Trial, labels: Mapping[str, Value]) -> list[Job]:
    """Return the jobs of one trial, parents first."""
    pruned, dense = trial.pruned, trial.dense
    jobs = [Job(dense, (), tuple(trial.evaluations(dense)))]
    parents = [dense.key]
    if pruned.sensitivity is not None:
        jobs.append(Job(pruned.sensitivity, (dense.key,)))
        parents.append(pruned.sensitivity.key)
    jobs.append(Job(pruned, tuple(parents), tuple(trial.evaluations(pruned))))
    evaluations = tuple(trial.evaluations(trial.network))
    jobs.append(Job(trial, (pruned.key,), evaluations, dict(labels)))
    return jobs


def dense_of(stage: Stage) -> Dense:
    """Return the dense network that a stage descends from."""
    while not isinstance(stage, Dense):
        stage = next(iter(stage.parents.values()))
    return stage


def _passes(stage: Stage) -> float:
    """Estimate a job's passes over the training images; an attack step counts as one and a half."""
    training = getattr(stage, "training", None)
    if isinstance(stage, Trial):
        return _passes(stage.network) if isinstance(stage.network, Finetuned) else 1.0
    if training is not None:
        return float(training.epochs * (3 + 1.5 * (training.attack_steps or 0)))
    return 10.0 if isinstance(stage, Sensitivity) else 1.0


def _levels(labels: Mapping[str, Value] | None) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in (labels or {}).items())
