"""Plans: the trials of a sweep and the jobs they need; a DAG, made without torch or ray."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from orchestrator.sweepfile import Sweep, SweepFileError, Value, as_levels
from prune_core.recipes import FinetuningLevel, Training, rewinds_rate
from prune_core.registry import ALLOCATIONS, CRITERIA, GRANULARITIES, POLICIES
from prune_core.specs import Estimation, PruningRules
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
    digests,
)

Unit = Literal["channel", "weight"]
IMAGES = frozenset({"gradients", "maps", "inputs", "learned"})
"""Needs of criteria that training images answer."""
TOLERANCE = 0.01
"""A pattern that removes more than the sparsity by this share cannot meet its budget."""


@dataclass(frozen=True)
class Job:
    """One unit of work: a stage, what its network is evaluated on, and what must be done before."""

    stage: Stage
    parents: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
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
    """Return the plan of a sweep.

    Raises `SweepFileError` for cells that cannot be, and where two cells are the same trial.
    """
    if faults := impossible(sweep):
        raise SweepFileError([f"{sweep.name}: {fault}" for fault in faults])
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
    for job in list(jobs.values()):
        if isinstance(job.stage, Rewound):
            dense = jobs[job.stage.network.key]
            jobs[dense.key] = replace(dense, rewinds=(*dense.rewinds, job.stage))
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
    architecture = str(labels["architecture"])
    dense = Dense(
        dataset=sweep.dataset,
        architecture=architecture,
        training=training,
        compute=sweep.compute,
        threat=sweep.threat if training.adversarial else None,
        seed=int(labels["seed"]),
        outside=digests(
            datasets=sweep.dataset.name,
            architectures=architecture,
            objectives=training.objective,
            schedules=training.schedule,
        ),
    )
    network = _path_from(dense, settings, labels, sweep)
    return Trial(
        network=network,
        attacks=sweep.evaluation.attacks,
        threat=sweep.threat,
        sanity_images=sweep.evaluation.sanity_images,
    )


def _path_from(
    dense: Dense, settings: Mapping[str, Any], labels: Mapping[str, Value], sweep: Sweep
) -> Pruned | Finetuned:
    """Return the last network of a path; pruned once, or in rounds of geometric steps."""
    level: FinetuningLevel = settings["finetuning"]
    sparsity = float(labels["sparsity"])
    if level.policy == "none":
        return _pruned(dense, sparsity, settings, labels, sweep)
    rewound = None
    if "rewound" in POLICIES[level.policy].needs:
        rewound = Rewound(network=dense, epoch=dense.training.epochs - level.epochs)
    network: Dense | Finetuned = dense
    trainings = level.round_trainings(settings["dense"])
    for number, training in enumerate(trainings, start=1):
        last = number == level.rounds
        reached = sparsity if last else 1 - (1 - sparsity) ** (number / level.rounds)
        network = Finetuned(
            pruned=_pruned(network, reached, settings, labels, sweep),
            policy=level.policy,
            rewound=rewound,
            training=training,
            compute=sweep.compute,
            threat=sweep.threat if training.adversarial else None,
            outside=digests(
                policies=level.policy, objectives=training.objective, schedules=training.schedule
            ),
        )
    if isinstance(network, Dense):
        raise ValueError(f"a fine-tuning of {level.rounds} rounds prunes nothing")
    return network


def _pruned(
    network: Dense | Finetuned,
    sparsity: float,
    settings: Mapping[str, Any],
    labels: Mapping[str, Value],
    sweep: Sweep,
) -> Pruned:
    rules: PruningRules = settings["pruning"]
    allocation, granularity = str(labels["allocation"]), str(labels["granularity"])
    needs = ALLOCATIONS[allocation].needs
    unit: Unit = "weight" if "weights" in GRANULARITIES[granularity].traits else "channel"
    ranked = [need.partition(":")[2] for need in needs if need.startswith("scores:")]
    measured = [need.partition(":")[2] for need in needs if need.startswith("sensitivity:")]
    return Pruned(
        network=network,
        scores=_scores(network, str(labels["criterion"]), unit, sparsity, rules, sweep),
        ranking=_scores(network, ranked[0], unit, sparsity, rules, sweep) if ranked else None,
        sensitivity=(
            _sensitivity(network, measured[0], settings["sensitivity"], sweep) if measured else None
        ),
        allocation=allocation,
        granularity=granularity,
        sparsity=sparsity,
        budget=sweep.budget,
        min_keep=rules.min_keep,
        mrs_exponent=rules.mrs_exponent if measured else None,
        ratios=rules.ratios.get(dense_of(network).architecture) if "ratios" in needs else None,
        outside=digests(allocations=allocation, granularities=granularity),
    )


def _scores(
    network: Dense | Finetuned,
    criterion: str,
    unit: Unit,
    sparsity: float,
    rules: PruningRules,
    sweep: Sweep,
) -> Scores:
    needs = CRITERIA[criterion].needs
    return Scores(
        network=network,
        criterion=criterion,
        unit=unit,
        calibration=rules.calibration if IMAGES.intersection(needs) else None,
        threat=sweep.threat if "threat" in needs else None,
        sparsity=sparsity if "sparsity" in needs else None,
        outside=digests(criteria=criterion),
    )


def _sensitivity(
    network: Dense | Finetuned, estimator: str, estimation: Estimation, sweep: Sweep
) -> Sensitivity:
    return Sensitivity(
        network=network,
        estimator=estimator,
        estimation=estimation,
        threat=sweep.threat,
        outside=digests(sensitivities=estimator),
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
                data = {**current.model_dump(exclude_unset=True), field: value}
                found[section] = type(current).model_validate(data)
    return found


def _matches(rule: Mapping[str, Any], labels: Mapping[str, Value]) -> bool:
    return all(labels[factor] in as_levels(level) for factor, level in rule.items())


def impossible(sweep: Sweep) -> list[str]:
    """Say which combinations of levels cannot be, of those that no rule excludes."""
    # What a combination of these levels says, it says at every seed and level of the others.
    pruned = ("architecture", "criterion", "sparsity", "allocation", "granularity")
    trained = ("architecture", "dense", "finetuning")
    faults: list[str] = []
    for factors, say in ((pruned, _contradictions), (trained, _training_contradictions)):
        distinct = {tuple(labels[name] for name in factors): labels for labels in cells(sweep)}
        faults += (fault for labels in distinct.values() for fault in say(sweep, labels))
    return list(dict.fromkeys(faults))


def _training_contradictions(sweep: Sweep, labels: Mapping[str, Value]) -> Iterator[str]:
    settings = _settings(sweep, labels)
    dense: Training = settings["dense"]
    level: FinetuningLevel = settings["finetuning"]
    if dense.taught:
        yield (
            f"dense {labels['dense']!r}: objective {dense.objective!r} learns from the dense "
            "network, which fine-tuning alone has"
        )
    if rewinds_rate(level.policy) and level.epochs > dense.epochs:
        yield (
            f"finetuning {labels['finetuning']!r}: policy {level.policy!r} goes back "
            f"{level.epochs} epochs, and the dense network's training has {dense.epochs}"
        )


def _contradictions(sweep: Sweep, labels: Mapping[str, Value]) -> Iterator[str]:
    criterion, granularity = str(labels["criterion"]), str(labels["granularity"])
    if "channels" in CRITERIA[criterion].traits and "weights" in GRANULARITIES[granularity].traits:
        yield (
            f"criterion {criterion!r} scores channels, not the weights of granularity "
            f"{granularity!r}; exclude: [{{criterion: {criterion}, granularity: {granularity}}}]"
        )
    if pattern := GRANULARITIES.arguments(granularity):
        n, m = int(pattern["n"]), int(pattern["m"])
        if not n < m:
            yield f"granularity {granularity!r} removes nothing; give n:m with n under m, as 2:4"
        elif float(labels["sparsity"]) < 1 - n / m - TOLERANCE:
            yield (
                f"granularity {granularity!r} removes {1 - n / m:.0%} at least, more than sparsity "
                f"{labels['sparsity']}; exclude: "
                f"[{{granularity: {granularity}, sparsity: {labels['sparsity']}}}]"
            )
    if "ratios" in ALLOCATIONS[str(labels["allocation"])].needs:
        rules: PruningRules = _settings(sweep, labels)["pruning"]
        if str(labels["architecture"]) not in rules.ratios:
            yield (
                f"allocation {labels['allocation']!r} needs pruning.ratios for "
                f"{labels['architecture']}: the share that every module keeps"
            )


def _path(trial: Trial, labels: Mapping[str, Value]) -> list[Job]:
    """Return the jobs of one trial, parents first; later rounds are part of the trial's own job."""
    dense = trial.dense
    first = trial.trainings[-1].pruned if trial.trainings else trial.pruned
    jobs = [Job(dense, (), tuple(trial.evaluations(dense)))]
    parents = [dense.key]
    before: list[Scores | Sensitivity | None] = [first.scores, first.ranking, first.sensitivity]
    for stage in before:
        if stage is not None and not (isinstance(stage, Scores) and not stage.needs_data):
            jobs.append(Job(stage, (dense.key,)))
            parents.append(stage.key)
    evaluations = tuple(trial.evaluations(first)) if first is trial.pruned else ()
    jobs.append(Job(first, tuple(parents), evaluations))
    parents = [first.key]
    if trial.sanity or any(stage.training.taught for stage in trial.trainings):
        parents.append(dense.key)
    if isinstance(trial.network, Finetuned) and (rewound := trial.network.rewound) is not None:
        jobs.append(Job(rewound, (dense.key,)))
        parents.append(rewound.key)
    evaluations = tuple(trial.evaluations(trial.network))
    jobs.append(Job(trial, tuple(parents), evaluations, dict(labels)))
    return jobs


def _passes(stage: Stage) -> float:
    """Estimate a job's passes over the training images; an attack step counts as one and a half."""
    training = getattr(stage, "training", None)
    if isinstance(stage, Rewound):
        return 0.1  # the dense network's job leaves it behind
    if isinstance(stage, Trial):
        return max(1.0, sum(map(_passes, stage.trainings)))
    if training is not None:
        return float(training.epochs * (3 + 1.5 * (training.attack_steps or 0)))
    return 10.0 if isinstance(stage, Sensitivity) else 2.0


def _levels(labels: Mapping[str, Value] | None) -> str:
    return ", ".join(f"{factor}={level}" for factor, level in (labels or {}).items())
