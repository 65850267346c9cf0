"""Claim files: a statement about the world and how it is to be decided, checked whole."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from orchestrator.sweepfile.errors import allowed
from orchestrator.sweepfile.levels import NAME
from orchestrator.sweepfile.model import Sweep, parse_sweep
from orchestrator.sweepfile.reading import SweepFileError, parse, read_text
from orchestrator.sweepfile.resources import MOST_SEEDS
from orchestrator.sweepfile.rules import (
    FACTOR_FIELDS,
    Levels,
    Value,
    as_levels,
    fields_of,
    known_levels,
)
from prune_core.specs.fields import Count, Number, OneOf, Share, Spec
from prune_core.specs.plain_yaml import Document, YamlError, read_yaml
from results.claims.design import LEAST_SEEDS, SPENDING, Design
from results.claims.question import (
    AGREEMENT,
    CONTRAST,
    EQUIVALENT,
    ESTIMANDS,
    MAIN_EFFECTS,
    SHARE,
    Question,
)
from results.statistics.design.design import GAIN
from results.statistics.design.words import listed
from results.statistics.shares.comparison import PAIR
from results.tables.schema import STAGES, metric_name

KINDS = (CONTRAST, SHARE, AGREEMENT)
Factor = Annotated[str, OneOf(tuple(FACTOR_FIELDS))]
Contrast = dict[Factor, tuple[Value, ...]]
Shares = dict[Factor, Literal[">"] | None]


def _growing(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if any(after <= before for before, after in itertools.pairwise(seeds)):
        raise ValueError("looks are at growing numbers of seeds, such as [3, 5, 8]")
    return seeds


class Assumption(Spec):
    """What a design is planned by, in points: not what is claimed."""

    difference: Number | None = Field(None, description="the true difference; a pilot's by default")
    spread: Annotated[Number, Field(gt=0)] | None = Field(
        None, description="standard deviation of the difference from seed to seed; a pilot's"
    )


class Claim(Spec):
    """A statement about the world, and how it is to be decided."""

    claim: str = Field(min_length=1, description="the statement, in words")
    contrast: Contrast | None = Field(
        None, description="{factor: [level, others]}: the first less each other one"
    )
    share: Shares | None = Field(
        None, description='{factor: ">", other}: the first explains more of the variance'
    )
    agreement: Factor | None = Field(
        None, description="the factor whose order before fine-tuning is that after it"
    )
    expects: Literal["greater", "no-worse", "equivalent"] = "greater"
    estimand: Annotated[str, OneOf(ESTIMANDS)] = MAIN_EFFECTS
    metric: str
    where: dict[str, Levels] = Field(default_factory=dict)
    margin: Annotated[Number, Field(ge=0)] = Field(0.0, validate_default=True)
    alpha: Share = 0.05
    power: Share = 0.8
    seeds: (
        Annotated[
            tuple[Annotated[Count, Field(ge=LEAST_SEEDS, le=MOST_SEEDS)], ...],
            Field(min_length=1),
            BeforeValidator(lambda given: [given] if isinstance(given, int) else given),
            AfterValidator(_growing),
        ]
        | None
    ) = Field(None, description="how many seeds; several for a sequential design, a look at each")
    spending: Annotated[str, OneOf(tuple(SPENDING))] = "obrien-fleming"
    assume: Assumption = Assumption()
    sweep: str = Field(
        description="the sweep file of which cells may be run to decide it, from the claim's own "
        "folder or the one above it"
    )

    @field_validator("contrast")
    @classmethod
    def _contrasts(cls, contrast: Contrast | None) -> Contrast | None:
        for name, levels in (contrast or {}).items():
            if len(levels) < 2 or len(set(levels)) < len(levels):
                raise ValueError(f"{name} needs at least two levels, each once")
        if contrast is not None and len(contrast) != 1:
            raise ValueError("give one factor, such as {allocation: [mrs, uniform]}")
        return contrast

    @field_validator("share")
    @classmethod
    def _shares(cls, share: Shares | None) -> Shares | None:
        if share is not None and sorted(map(str, share.values())) != [">", "None"]:
            raise ValueError('give two factors, such as {finetuning: ">", criterion}')
        return share

    @field_validator("estimand")
    @classmethod
    def _estimated(cls, estimand: str, info: ValidationInfo) -> str:
        if estimand != MAIN_EFFECTS and set(info.data.get("share", PAIR) or ()) != set(PAIR):
            raise ValueError(f"{estimand!r} is of shares of finetuning and criterion alone")
        return estimand

    @field_validator("metric")
    @classmethod
    def _after(cls, metric: str, info: ValidationInfo) -> str:
        if info.data.get("agreement") and not metric.startswith("finetuned_"):
            raise ValueError("agreement is of a metric after fine-tuning: finetuned_...")
        return metric

    @field_validator("margin")
    @classmethod
    def _within(cls, margin: float, info: ValidationInfo) -> float:
        if info.data.get("expects") == EQUIVALENT and not margin:
            raise ValueError("levels are equivalent within a margin: give one over 0")
        return margin

    @field_validator("seeds")
    @classmethod
    def _looks(cls, seeds: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        if info.data.get("agreement") and len(seeds or ()) > 1:
            raise ValueError("agreement has a fixed design: give one number of seeds")
        return seeds

    @field_validator("sweep")
    @classmethod
    def _one_kind(cls, sweep: str, info: ValidationInfo) -> str:
        given = [kind for kind in KINDS if info.data.get(kind, "faulty") is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(KINDS)} (given: {listed(given or ['none'])})")
        return sweep

    @property
    def question(self) -> Question:
        """What it asks of trials."""
        kind = next(kind for kind in KINDS if getattr(self, kind) is not None)
        contrast, share = self.contrast or {}, self.share or {}
        larger_first = sorted(share, key=lambda name: share[name] is None)
        factors = (*contrast, *larger_first, *([self.agreement] if self.agreement else ()))
        levels = next(iter(contrast.values()), ())
        where = {name: as_levels(of) for name, of in self.where.items()}
        return Question(
            kind, factors, self.metric, self.margin, self.expects, levels, where, self.estimand
        )

    @property
    def design(self) -> Design | None:
        """When it is looked at; None where that is not decided yet."""
        return None if self.seeds is None else Design(self.seeds, self.alpha, self.spending)


class Registered(NamedTuple):
    """A claim, and the sweep that may be run to decide it."""

    name: str
    claim: Claim
    sweep: Sweep
    text: str
    """The sweep file's."""

    def cells(self, seeds: int) -> Sweep:
        """Return the sweep of just the cells that the claim asks for.

        Args:
            seeds: How many. They are the sweep's lowest; where it has fewer, those after its last.
        """
        named = sorted(self.sweep.blocks())
        blocks = (named + list(range(named[-1] + 1, named[-1] + 1 + seeds)))[:seeds]
        wanted = dict(self.claim.question.where)
        if self.claim.contrast is not None:
            wanted |= self.claim.contrast
        levels = self.sweep.factors()
        excluded = tuple(
            {name: left}
            for name, of in wanted.items()
            if (left := tuple(level for level in levels[name] if level not in of))
        )
        return self.sweep.model_copy(update={
            "name": f"claim-{self.name}", "seeds": tuple(blocks),
            "exclude": (*self.sweep.exclude, *excluded),
        })  # fmt: skip


def read_claim(path: Path) -> Registered:
    """Read and check a claim file and the sweep that it names.

    Raises:
        SweepFileError: It holds every fault of both.
    """
    text, faults = read_text(path), []
    try:
        claim = parse(Claim, text, str(path), "a claim is a mapping of keys: claim, metric, ...")
    except SweepFileError as error:
        faults += error.faults
    written = _written(text)
    sweep_file = written.data.get("sweep") if isinstance(written.data, dict) else None
    if isinstance(sweep_file, str):
        try:
            sweep_path = _sweep_path(path, sweep_file)
            sweep_text = read_text(sweep_path)
            sweep = parse_sweep(sweep_text, str(sweep_path))
            faults += [
                f"{path}:{written.lines.get((key,), 1)}: {key}: {fault}"
                for key, fault in _level_faults(written.data, sweep)
            ]
        except SweepFileError as error:
            faults += error.faults
    if not re.fullmatch(NAME, path.stem):
        faults.append(f"{path}: a claim is called as its file: letters, digits, _, . and -")
    if faults:
        raise SweepFileError(faults)
    data = fields_of(sweep)
    levels = {name: known_levels(getattr(claim, name), data)[0]
              for name in ("where", "contrast") if getattr(claim, name)}  # fmt: skip
    return Registered(path.stem, claim.model_copy(update=levels), sweep, sweep_text)


def _sweep_path(claim: Path, sweep: str) -> Path:
    """Return where a claim's sweep file lies: in the claim's folder, or else in the one above.

    So a claim means the same sweep from whatever folder it is asked.

    Raises:
        SweepFileError: It lies in neither.
    """
    folders = claim.absolute().parents[:2]
    there = (one for one in folders if os.path.isfile(one / sweep))  # noqa: PTH113 - of any length
    if found := next(there, None):
        return Path(os.path.relpath(found / sweep))
    fault = (
        f"{claim}: sweep: {sweep} cannot be read: it is neither in {folders[0]}, where the claim "
        "lies, nor in the folder above"
    )
    raise SweepFileError([fault])


def _written(text: str) -> Document:
    """Return a file as it is written, as far as it can be read."""
    try:
        return read_yaml(text)
    except YamlError:  # that fault is told
        return Document()


def _level_faults(written: Mapping[str, Any], sweep: Sweep) -> Iterator[tuple[str, str]]:
    """Check the names of a claim, as it is written, against its sweep; go through faults by key."""
    where, contrast = _rule(written.get("where")), _rule(written.get("contrast"))
    for key, rule in (("where", where), ("contrast", contrast)):
        for fault in known_levels(rule, fields_of(sweep))[1]:
            yield key, fault
    if "seed" in where:
        yield "where", "seeds are what is independent: a claim is of them all"
    for name in (name for name in where if name in contrast):
        yield "where", f"{name} is contrasted already"
    share, factor = written.get("share"), written.get("agreement")
    compared = [("share", name) for name in (share if isinstance(share, dict) else ())]
    compared += [("agreement", factor)] if isinstance(factor, str) else []
    for key, name in compared:
        if name in FACTOR_FIELDS and len(where.get(name, sweep.factors()[name])) < 2:
            yield key, f"{name} has one level alone there: nothing to compare"
    metric, known = written.get("metric"), _metrics(sweep)
    if isinstance(metric, str) and metric not in known:
        yield "metric", f"unknown metric {metric!r}; {allowed(metric, known)}"


def _rule(written: Any) -> dict[str, tuple[Any, ...]]:
    """Return levels by factor as they are written; nothing where they are no such thing."""
    rule = written if isinstance(written, dict) else {}
    rule = {name: tuple(of) if isinstance(of, list) else (of,) for name, of in rule.items()}
    plain = (str, int, float)
    return {name: of for name, of in rule.items() if all(isinstance(one, plain) for one in of)}


def _metrics(sweep: Sweep) -> list[str]:
    """Return the columns of accuracies that a sweep's trials have."""
    several = ["worst"] if len(sweep.attacks) > 1 else []
    attacks = ["clean", *sweep.attacks, *several]
    metrics = [metric_name(stage, attack) for stage in STAGES for attack in attacks]
    return [*metrics, *(GAIN + metric_name("", attack)[1:] for attack in attacks)]
