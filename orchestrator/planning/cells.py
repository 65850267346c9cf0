"""Cells: the combinations of a sweep's levels, and what its overrides set in each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.sweepfile.evaluation import EvaluationRules
from orchestrator.sweepfile.model import Override, Sweep
from orchestrator.sweepfile.rules import Value, as_levels
from prune_core.specs.checkpoints import DenseLevel
from prune_core.specs.recipes import FinetuningLevel, Training
from prune_core.specs.settings import Dataset, Estimation, PruningRules, Threat

Labels = Mapping[str, Value]
"""A cell at one seed: the levels as the sweep names them, by factor."""


class AtSeed(Mapping[str, Value]):
    """A cell's levels, and a seed: all seeds share the levels, where dicts would hold them each."""

    __slots__ = ("_levels", "_seed")

    def __init__(self, levels: Mapping[str, Value], seed: int):
        self._levels, self._seed = levels, seed

    def __getitem__(self, name: str) -> Value:
        """Return a factor's level, or the seed."""
        return self._seed if name == "seed" else self._levels[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the factors, the seed last."""
        yield from self._levels
        yield "seed"

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._levels) + 1


@dataclass(frozen=True)
class Settings:
    """What one cell asks for, overrides applied."""

    dataset: Dataset
    dense: DenseLevel
    finetuning: FinetuningLevel
    sensitivity: Estimation
    pruning: PruningRules
    threat: Threat
    evaluation: EvaluationRules

    @cached_property
    def dense_training(self) -> Training:
        """The dense network's training, every default written out."""
        return self.dense.training

    @cached_property
    def round_trainings(self) -> list[Training]:
        """The training of every round of the fine-tuning, every default written out."""
        return self.finetuning.round_trainings(self.dense)


class Cells:
    """The cells of a sweep; equal settings are one object, so that what follows is shared too."""

    def __init__(self, sweep: Sweep, seeds: tuple[int, ...]):
        self.sweep = sweep
        self.seeds = seeds
        self._settings: dict[tuple[Any, ...], Settings] = {}

    def __iter__(self) -> Iterator[Labels]:
        """Go through all cells that are not excluded, at every seed."""
        factors = self.sweep.factors()
        for levels in itertools.product(*factors.values()):
            cell = dict(zip(factors, levels, strict=True))
            for labels in (AtSeed(cell, seed) for seed in self.seeds):
                if not any(matches(rule, labels) for rule in self.sweep.exclude):
                    yield labels

    def settings(self, labels: Labels) -> Settings:
        """Return the settings of one cell by section, the matching overrides applied in order."""
        overrides = self.sweep.overrides
        fitting = tuple(i for i, rule in enumerate(overrides) if matches(rule.where, labels))
        key = (labels["dataset"], labels["dense"], labels["finetuning"], fitting)
        if key not in self._settings:
            chosen = [overrides[index] for index in fitting]
            self._settings[key] = _overridden(self.sweep, labels, chosen)
        return self._settings[key]


def _overridden(sweep: Sweep, labels: Labels, overrides: list[Override]) -> Settings:
    sections: dict[str, Any] = {
        "dense": sweep.dense[str(labels["dense"])],
        "finetuning": sweep.finetuning[str(labels["finetuning"])],
        "sensitivity": sweep.sensitivity,
        "pruning": sweep.pruning,
        "threat": sweep.threat,
        "evaluation": sweep.evaluation,
    }
    for override in overrides:
        for name, value in override.set.items():
            section, _, field = name.partition(".")
            current = sections[section]
            data = {**current.model_dump(exclude_unset=True), field: value}
            sections[section] = type(current).model_validate(data)
    return Settings(dataset=sweep.datasets[str(labels["dataset"])], **sections)


def matches(rule: Mapping[str, Any], labels: Labels) -> bool:
    """Say whether a cell has one of the levels that a rule names, for each of its factors."""
    return all(labels[factor] in as_levels(level) for factor, level in rule.items())
