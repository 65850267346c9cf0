"""What a claim takes: what it asks, when it is looked at, and how surely that decides it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from rich.console import Console

from orchestrator.sweepfile.claim import Claim
from results.claims.chance import Assumed, chances, seeds_needed, truth
from results.claims.design import LEAST_SEEDS, Design
from results.claims.outcome import UNDECIDED
from results.claims.question import CONTRAST, SHARE, Question, asked
from results.errors import AnalysisError
from results.statistics.design.design import make_design
from results.statistics.design.words import listed, number, percent
from results.statistics.shares.decomposition import measured_terms, total_gram
from results.statistics.shares.power import power


def show_design(claim: Claim, trials: pd.DataFrame, console: Console) -> None:
    """Print a claim's question and design, and how surely the latter decides it.

    Args:
        claim: The claim.
        trials: Those of its trials that are there already: a pilot.
        console: Where to print.
    """
    console.print(claim.claim, style="bold", highlight=False, markup=False)
    console.print(f"Asks: {claim.question}", highlight=False, markup=False)
    design = claim.design
    if design is not None:
        for seeds, alpha in zip(design.seeds, design.alphas, strict=True):
            console.print(f"Look at {seeds} seeds: may miss {percent(alpha, 2)}", highlight=False)
    console.print(_chances(claim, design, trials), highlight=False, markup=False)


def _chances(claim: Claim, design: Design | None, trials: pd.DataFrame) -> str:
    try:
        if claim.question.kind == CONTRAST:
            return _of_contrast(claim, design, trials)
        if claim.question.kind == SHARE:
            return _of_shares(claim, trials)
    except AnalysisError as error:
        return f"How many seeds it takes is not known: {error}."
    return "How many seeds it takes is not computed for agreement."


def _of_contrast(claim: Claim, design: Design | None, trials: pd.DataFrame) -> str:
    question = claim.question
    assumed, source = _assumed(claim, question, trials)
    right = truth(question, assumed)
    if right == UNDECIDED:
        return f"{source}, that is at the margin: no number of seeds decides it."
    said = []
    if design is not None:
        chance = chances(question, design, assumed)[right]
        said.append(f"this design finds it {right} in {percent(chance)}")
    single = Design((LEAST_SEEDS,), claim.alpha)
    needed = seeds_needed(question, single, assumed, claim.power)
    takes = "more seeds than can be looked for" if needed is None else f"{needed} seeds"
    said.append(f"one look takes {takes} to find it {right} in {percent(claim.power)}")
    return f"{source}, {listed(said)}."


def _assumed(claim: Claim, question: Question, trials: pd.DataFrame) -> tuple[Assumed, str]:
    """Return what the design is planned by, and the words for it."""
    given = claim.assume
    if given.spread is not None and given.difference is not None:
        assumed = Assumed.stated(given.difference, given.spread, len(question.pairs))
        scatter = f"seeds scatter by {number(given.spread, 2)} points as assumed"
    elif trials.empty:
        raise AnalysisError(
            "no trial of it is there: run a pilot of the sweep at some seeds, or give assume: "
            "{difference: 2.0, spread: 1.0}, in points"
        )
    else:
        assumed = Assumed.seen(trials, question, given.difference)
        if given.spread is not None:
            first = float(assumed.differences[0])
            assumed = Assumed.stated(first, given.spread, len(question.pairs))
        spreads = (assumed.scatter**2).sum(axis=0) ** 0.5
        seeds = trials["seed"].nunique()
        scatter = (
            f"seeds scatter by {_numbers(spreads, 2)} points as at the {seeds} seeds that are there"
        )
    return assumed, f"If the difference is {_numbers(assumed.differences)} points and {scatter}"


def _of_shares(claim: Claim, trials: pd.DataFrame) -> str:
    """Say how many seeds tell two shares apart, a margin aside."""
    if trials.empty:
        raise AnalysisError("no trial of it is there: run a pilot of the sweep at three seeds")
    design = make_design(asked(trials, claim.question), claim.metric)
    if len(design.seeds) < LEAST_SEEDS:
        raise AnalysisError(f"a pilot has at least {LEAST_SEEDS} seeds")
    pair = claim.question.factors
    terms = measured_terms(design, pair)
    if absent := [name for name in pair if name not in terms]:
        raise AnalysisError(f"{listed(absent)} has one level there")
    found = power(terms[pair[0]], terms[pair[1]], total_gram(design), 1 - claim.alpha, claim.power)
    return (
        f"If shares and noise are as at the {len(design.seeds)} seeds there, {found.seeds} seeds "
        f"tell the shares apart in {percent(found.chance)}."
    )


def _numbers(values: Iterable[float], digits: int = 1) -> str:
    return listed([number(float(one), digits) for one in values])
