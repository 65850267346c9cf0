"""Looks: what the seeds that a design names say of a claim, and no more of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from results.claims.design import Design
from results.claims.outcome import OUTCOMES, REFUTED, SAME, SUPPORTED, UNDECIDED, decided
from results.claims.question import AGREEMENT, CONTRAST, Part, Question, asked, measured
from results.errors import AnalysisError
from results.statistics.design.design import make_design, too_few
from results.statistics.design.failures import chance, counted, diverged, unexplained, worst
from results.statistics.design.words import listed, number
from results.statistics.verdict.confounds import BUDGET, confounded
from results.statistics.verdict.strikes import few, strikes

Rows = pd.DataFrame


@dataclass(frozen=True)
class Finding:
    """What some trials say of a claim."""

    outcome: str
    parts: tuple[Part, ...] = ()
    refusals: tuple[str, ...] = ()
    """Why it is undecided whatever the intervals say."""


@dataclass(frozen=True)
class Look:
    """A finding at a look of the design."""

    seeds: int
    alpha: float
    trials: int
    finding: Finding


def looks(trials: Rows, planned: Rows, question: Question, design: Design) -> Iterator[Look]:
    """Go through the looks that may be taken: up to one that decides, or whose trials lack.

    Args:
        trials: rows of ``trials``, levels as the claim's sweep names them.
        planned: the trials that the claim asks for: ``trial_id`` and ``seed``.
        question: what is asked.
        design: when it is looked at.
    """
    for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
        wanted = first_seeds(planned, planned, seeds)["trial_id"]
        if not wanted.isin(trials["trial_id"]).all():
            return
        rows = trials[trials["trial_id"].isin(wanted)]
        look = Look(seeds, alpha, len(rows), found(rows, question, alpha))
        yield look
        if look.finding.outcome != UNDECIDED:
            return


def first_seeds(rows: Rows, planned: Rows, seeds: int) -> Rows:
    """Return the rows of the so many lowest seeds that are planned."""
    return rows[rows["seed"].isin(sorted(planned["seed"].unique())[:seeds])]


def found(trials: Rows, question: Question, alpha: float) -> Finding:
    """Return what trials say of a claim, and why they may say nothing.

    Args:
        trials: rows of ``trials``.
        question: what is asked.
        alpha: the chance that an interval may miss the truth.
    """
    try:
        rows = asked(trials, question)
        outcome, parts = said(rows, question, alpha)
        refusals = tuple(_refusals(rows, question, alpha, outcome))
    except AnalysisError as error:
        return Finding(UNDECIDED, (), (str(error),))
    return Finding(UNDECIDED if refusals else outcome, parts, refusals)


def said(rows: Rows, question: Question, alpha: float) -> tuple[str, tuple[Part, ...]]:
    """Return what intervals alone say, and them.

    Raises:
        AnalysisError: There are none.
    """
    parts = measured(rows, question, 1 - alpha)
    wide = parts if len(parts) == 1 else measured(rows, question, 1 - alpha / len(parts))
    ends, wider = (
        (np.array([one.low for one in of]), np.array([one.high for one in of]))
        for of in (parts, wide)
    )
    outcome = OUTCOMES[int(decided(ends, wider, question.margin, question.expects))]
    if outcome == SAME and question.kind == AGREEMENT:
        outcome = REFUTED  # ranks that do not agree are nothing that is equivalent
    return outcome, tuple(parts)


def _refusals(rows: Rows, question: Question, alpha: float, outcome: str) -> Iterator[str]:
    design = make_design(rows, question.metric)
    if few_trials := too_few(design):
        yield few_trials
    struck = [s for name in question.factors if name in design.factors
              for s in strikes(design, name)]  # fmt: skip
    if unknown := few(struck):
        yield unknown
    if "finetuning" not in question.factors or question.kind != CONTRAST:
        for name in (one for one in question.factors if one != "finetuning"):
            differs = confounded(rows, name)
            if spent := [f"{one} ({differs[one]})" for one in BUDGET if one in differs]:
                yield f"levels of {name} differ in {listed(spent)} where all else is equal"
    for name, reading in failures_read(rows, question.metric):
        other = _outcome(reading, question, alpha)
        if {outcome, other} != {UNDECIDED} and other != outcome:
            yield f"with the trials that {name}, it is {other}"


def failures_read(rows: Rows, metric: str) -> Iterator[tuple[str, Rows]]:
    """Go through other ways to count trials that failed: what, and the trials so counted."""
    if not metric.startswith("finetuned_") or metric not in rows:
        return
    bad, odd = diverged(rows), unexplained(rows)
    if bad.any():
        seen = worst(rows, metric)
        yield "diverged counted as the worst seen", counted(rows, metric, bad, seen)
        yield "diverged left out", rows[~bad]
    if odd.any():
        least = chance(rows, metric)
        yield "failed counted as chance accuracy", counted(rows, metric, odd, least)


def _outcome(rows: Rows, question: Question, alpha: float) -> str:
    try:
        return said(rows, question, alpha)[0]
    except AnalysisError:
        return UNDECIDED


def sentence(claim: str, question: Question, look: Look | None) -> str:
    """Return what became of a claim, in words."""
    if look is None:
        return f"Undecided: {claim}. Its trials are not all there yet."
    finding, digits = look.finding, 2 if question.unit.startswith("Kendall") else 1
    numbers = [
        f"{part.name} is {number(part.value, digits)} {question.unit} "
        f"({100 * (1 - look.alpha):.4g} % interval {number(part.low, digits)} to "
        f"{number(part.high, digits)})"
        for part in finding.parts
    ]
    why = ""
    if finding.refusals:
        why = f" It carries no conclusion, since {listed(finding.refusals)}."
    told = f" {listed(numbers)}," if numbers else " Looked at"
    head = {SUPPORTED: "Supported", REFUTED: "Refuted", UNDECIDED: "Undecided"}
    return (
        f"{head.get(finding.outcome, 'Equivalent')}: {claim}.{told} at {look.seeds} seeds, "
        f"{look.trials} trials.{why}"
    )
