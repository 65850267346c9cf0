"""Paths: the stages of each cell, every default and override written out, shared where equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Literal, TypeVar

from orchestrator.planning.cells import Cells, Labels, Settings
from orchestrator.planning.compatibility import IMAGES
from prune_core.specs.recipes import Training
from prune_core.specs.registry import (
    ALLOCATIONS,
    CRITERIA,
    GRANULARITIES,
    POLICIES,
    SENSITIVITIES,
    digests,
)
from prune_core.specs.settings import Dataset
from prune_core.specs.stage import Stage
from prune_core.specs.stages import (
    Dense,
    Finetuned,
    Pruned,
    Rewound,
    Scores,
    Sensitivity,
    Trial,
    dense_of,
)

Unit = Literal["channel", "weight"]
S = TypeVar("S", bound=Stage)


class Paths:
    """Makes the trials of a sweep.

    Every stage is made once: cells that share it get the same object. This, and looking methods up
    once, is what lets plans of 100,000 trials be made in seconds.
    """

    def __init__(self, cells: Cells):
        self._cells = cells
        self._sweep = cells.sweep
        self._made: dict[tuple[object, ...], Stage] = {}
        self._digests = cache(digests)
        self._attack_digests = cache(_attack_digests)

    def trial(self, labels: Labels) -> Trial:
        """Return the trial of one cell at one seed."""
        settings = self._cells.settings(labels)
        evaluation = settings.evaluation
        return Trial(
            network=self._network(self._dense(settings, labels), settings, labels),
            attacks=evaluation.attacks,
            threat=settings.threat,
            sanity_images=evaluation.sanity_images,
            measure=evaluation.measure or None,
            outside=self._attack_digests(settings.dataset, evaluation.attacks),
        )

    def _once(self, key: tuple[object, ...], make: Callable[[], S]) -> S:
        stage = self._made.get(key)
        if stage is None:
            stage = self._made[key] = make()
        return stage  # type: ignore[return-value]  # a key's first part says which stage it is of

    def _dense(self, settings: Settings, labels: Labels) -> Dense:
        architecture, seed = str(labels["architecture"]), int(labels["seed"])

        def make() -> Dense:
            training, normalise = settings.dense_training, settings.dense.normalise
            return Dense(
                dataset=settings.dataset,
                architecture=architecture,
                training=training,
                compute=self._sweep.compute,
                threat=settings.threat if training.adversarial else None,
                seed=seed,
                checkpoint=settings.dense.start(architecture, seed),
                normalise=None if normalise == "dataset" else normalise,
                outside=self._digests(
                    datasets=settings.dataset.name,
                    architectures=architecture,
                    objectives=training.objective,
                    schedules=training.schedule,
                ),
            )

        images = (labels["dataset"], settings.threat)
        return self._once(("dense", architecture, settings.dense, seed, *images), make)

    def _network(self, dense: Dense, settings: Settings, labels: Labels) -> Pruned | Finetuned:
        """Return the last network of a path; pruned once, or in rounds of geometric steps."""
        level, sparsity = settings.finetuning, float(labels["sparsity"])
        if level.policy == "none":
            return self._pruned(dense, sparsity, settings, labels)
        rewound = None
        if "rewound" in POLICIES[level.policy].needs:
            rewound = Rewound(network=dense, epoch=dense.training.epochs - level.round_epochs)
        network: Dense | Finetuned = dense
        for number, training in enumerate(settings.round_trainings, start=1):
            last = number == level.rounds
            reached = sparsity if last else 1 - (1 - sparsity) ** (number / level.rounds)
            pruned = self._pruned(network, reached, settings, labels)
            network = self._finetuned(pruned, rewound, training, settings)
        if isinstance(network, Dense):
            raise ValueError(f"a fine-tuning of {level.rounds} rounds prunes nothing")
        return network

    def _finetuned(
        self,
        pruned: Pruned,
        rewound: Rewound | None,
        training: Training,
        settings: Settings,
    ) -> Finetuned:
        level = settings.finetuning
        return Finetuned(
            pruned=pruned,
            policy=level.policy,
            growth=level.growth,
            rewound=rewound,
            training=training,
            compute=self._sweep.compute,
            threat=settings.threat if training.adversarial else None,
            outside=self._digests(
                policies=level.policy, objectives=training.objective, schedules=training.schedule
            ),
        )

    def _pruned(
        self, network: Dense | Finetuned, sparsity: float, settings: Settings, labels: Labels
    ) -> Pruned:
        rules = settings.pruning
        criterion, allocation = str(labels["criterion"]), str(labels["allocation"])
        granularity = str(labels["granularity"])

        def make() -> Pruned:
            needs = ALLOCATIONS[allocation].needs
            weights = "weights" in GRANULARITIES[granularity].traits
            unit: Unit = "weight" if weights else "channel"

            def scores(of: str) -> Scores:
                return self._scores(network, of or criterion, unit, sparsity, settings)

            ranked, estimator = _named(needs, "scores"), _named(needs, "sensitivity")
            removed = _named(SENSITIVITIES[estimator].needs, "scores") if estimator else None
            return Pruned(
                network=network,
                scores=scores(criterion),
                ranking=scores(ranked) if ranked else None,
                sensitivity=(
                    self._sensitivity(
                        network,
                        estimator,
                        settings,
                        None if removed is None else scores(removed),
                        granularity,
                    )
                    if estimator
                    else None
                ),
                allocation=allocation,
                granularity=granularity,
                sparsity=sparsity,
                budget=self._sweep.budget,
                min_keep=0.0 if weights else rules.min_keep,
                round_to=rules.round_to if rules.round_to > 1 and not weights else None,
                leave=rules.left(dense_of(network).architecture) or None,
                mrs_exponent=rules.mrs_exponent if estimator and removed != "" else None,
                ratios=(
                    rules.ratios.get(dense_of(network).architecture) if "ratios" in needs else None
                ),
                outside=self._digests(allocations=allocation, granularities=granularity),
            )

        # Settings that differ in the fine-tuning alone may still share the pruning.
        chosen = (id(rules), settings.sensitivity, settings.threat)
        key = ("prune", network.key, criterion, sparsity, allocation, granularity, *chosen)
        return self._once(key, make)

    def _scores(
        self,
        network: Dense | Finetuned,
        criterion: str,
        unit: Unit,
        sparsity: float,
        settings: Settings,
    ) -> Scores:
        rules, threat = settings.pruning, settings.threat
        needs = CRITERIA[criterion].needs
        at = sparsity if "sparsity" in needs else None
        calibration = rules.calibration if IMAGES.intersection(needs) else None
        recipe = _named(needs, "trained")
        training = rules.score_trainings[recipe] if recipe else None
        attacked = "threat" in needs or (training is not None and training.adversarial)
        trained_by = (
            {"objectives": training.objective, "schedules": training.schedule} if training else {}
        )

        def make() -> Scores:
            return Scores(
                network=network,
                criterion=criterion,
                unit=unit,
                calibration=calibration,
                training=training,
                threat=threat if attacked else None,
                sparsity=at,
                outside=self._digests(criteria=criterion, **trained_by),
            )

        key = ("scores", network.key, criterion, unit, at, calibration, training, threat)
        return self._once(key, make)

    def _sensitivity(
        self,
        network: Dense | Finetuned,
        estimator: str,
        settings: Settings,
        scores: Scores | None,
        granularity: str,
    ) -> Sensitivity:
        def make() -> Sensitivity:
            return Sensitivity(
                network=network,
                estimator=estimator,
                scores=scores,
                granularity=granularity if scores else None,
                estimation=settings.sensitivity,
                threat=settings.threat,
                outside=self._digests(sensitivities=estimator),
            )

        of = (scores.key, granularity) if scores else ()
        how = (settings.sensitivity, settings.threat)
        return self._once(("sensitivity", network.key, estimator, *how, *of), make)


def _attack_digests(dataset: Dataset, attacks: tuple[str, ...]) -> dict[str, str]:
    """Return what keys say of attacks besides their names, where that is anything."""
    return {name: digest for name in attacks if (digest := dataset.attack_digest(name))}


def _named(needs: Iterable[str], kind: str) -> str | None:
    """Return which of a kind is needed; empty for the cell's own, None for none."""
    for need in needs:
        first, _, name = need.partition(":")
        if first == kind:
            return name
    return None
