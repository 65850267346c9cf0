"""On what a claim's outcome hangs: levels left out, doubtful networks, ways to count failures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from results.claims.looks import Finding, Rows, failures_read, said
from results.claims.outcome import UNDECIDED
from results.claims.question import CONTRAST, ESTIMANDS, SHARE, Question, asked
from results.errors import AnalysisError
from results.statistics.design.design import varying_factors, with_metric
from results.statistics.design.words import listed, term_name
from results.statistics.shares.comparison import PAIR, flagged

FEWEST = {CONTRAST: 1, SHARE: 2}
"""Levels of a factor that must be left for a claim to mean anything; of ranks three."""


def variations(trials: Rows, question: Question, alpha: float) -> dict[str, Finding]:
    """Return what is found when something is otherwise, by what it is.

    Args:
        trials: rows of ``trials`` that the claim was decided on.
        question: what is asked.
        alpha: the chance that an interval may miss the truth.
    """
    rows = with_metric(asked(trials, question), question.metric)
    found = {name: _found(of, question, alpha) for name, of in _otherwise(rows, question)}
    if question.kind == SHARE and set(question.factors) == set(PAIR):
        for name in (one for one in ESTIMANDS if one != question.estimand):
            other = replace(question, estimand=name, margin=0.0)
            finding = _found(rows, other, alpha)
            if finding.parts:
                found[f"by {name} ({other.unit}, no margin)"] = finding
    return found


def dependence(outcome: str, found: dict[str, Finding]) -> str:
    """Say in words on what an outcome hangs."""
    others = [f"{name}, it is {of.outcome}" for name, of in found.items() if of.outcome != outcome]
    if not found:
        return "Nothing could be left out to see whether the outcome depends on it."
    if not others:
        return f"The outcome is the same whatever is left out or counted otherwise ({len(found)})."
    return f"The outcome depends on more: {listed(others)} ({len(found)} variations)."


def _otherwise(rows: Rows, question: Question) -> Iterator[tuple[str, Rows]]:
    for factor in varying_factors(rows):
        levels = sorted(rows[factor].dropna().unique())
        least = FEWEST.get(question.kind, 3) if factor in question.factors else 1
        if factor in question.factors and question.kind == CONTRAST:
            continue  # it is of just these levels
        for level in levels if len(levels) > least else ():
            yield f"without {term_name(factor)} {level}", rows[rows[factor] != level]
    doubtful = flagged(rows)
    if doubtful.any():
        masked = rows.assign(**{question.metric: rows[question.metric].mask(doubtful)})
        yield f"without {int(doubtful.sum())} networks that failed a sanity check", masked
    if "shortfall" in rows and (short := rows["shortfall"].notna()).any():
        masked = rows.assign(**{question.metric: rows[question.metric].mask(short)})
        yield f"without {int(short.sum())} trials that missed their budget", masked
    for name, reading in failures_read(rows, question.metric):
        yield f"with trials that {name}", reading


def _found(rows: pd.DataFrame, question: Question, alpha: float) -> Finding:
    try:
        outcome, parts = said(rows, question, alpha)
    except AnalysisError as error:
        return Finding(UNDECIDED, (), (str(error),))
    return Finding(outcome, parts)
