"""The verdict: which matters more, the criterion or the fine-tuning, and how far that carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from results.errors import AnalysisError, allowed
from results.statistics.design.design import (
    Design,
    make_design,
    metrics_of,
    too_few,
    varying_factors,
    with_metric,
)
from results.statistics.design.failures import (
    chance,
    counted,
    diverged,
    lacking,
    unexplained,
    worst,
)
from results.statistics.design.words import listed, term_name
from results.statistics.levels.by_image import evaluated, images_of
from results.statistics.shares.comparison import (
    PAIR,
    UNDECIDED,
    compare_main_effects,
    flagged,
    winner_without,
    within_each_level,
    without_each_level,
)
from results.statistics.shares.compute import matched
from results.statistics.shares.decomposition import (
    decompose_design,
    interaction_share,
    measured_terms,
    shares_of,
    total_gram,
)
from results.statistics.shares.estimands import estimands_of
from results.statistics.shares.images import pictures_of
from results.statistics.shares.power import Power, power
from results.statistics.verdict.conditions import conditions
from results.statistics.verdict.confounds import BUDGET, confounded, duplicates
from results.statistics.verdict.sentences import Verdict
from results.statistics.verdict.strikes import few, strikes

POPULATIONS = ("images", "these images")


def verdict(
    trials: pd.DataFrame,
    metric: str = "finetuned_pgd_20",
    block: str = "seed",
    confidence: float = 0.95,
    evaluations: pd.DataFrame | None = None,
    population: str | None = None,
) -> Verdict:
    """Return the verdict on one metric of the trials, of one data set or over several.

    Over several, shares are of the variance between networks of the same data set: how much easier
    one is than another is none of them.

    Args:
        trials: rows of ``trials``.
        metric: a column of accuracies.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.
        evaluations: rows of ``evaluations`` with the final networks' outcomes by image.
        population: ``images``: the test images stand for others, whose choice counts as error;
            ``these images``: it is of these alone. The former where evaluations are given.

    Raises:
        AnalysisError: where the data cannot carry one: without two levels of both factors, with
            fewer than three seeds, or without outcomes by image where these are wanted.
    """
    population = population or POPULATIONS[evaluations is None]
    if population not in POPULATIONS:
        raise AnalysisError(f"no population {population!r}; there are: {', '.join(POPULATIONS)}")
    if population == "images" and evaluations is None:
        raise AnalysisError("population 'images' needs evaluations: outcomes by image")
    trials = with_metric(trials, metric)
    design = make_design(trials, metric, None, block)
    pictures = None
    if evaluations is not None and population == "images":
        pictures = pictures_of(trials, evaluations, metric, design)
    comparison = compare_main_effects(design, confidence, pictures=pictures)
    alike = {name: found for name in PAIR if (found := duplicates(trials, design, name))}
    shares = shares_of(decompose_design(design, block, confidence))
    differs = confounded(trials)
    doubts = _readings(trials, metric, block, confidence, comparison.winner)
    struck = [one for name in PAIR for one in strikes(design, name)]
    refusals = tuple(filter(None, (*_confounds(differs), too_few(design), few(struck), *doubts)))
    winner = UNDECIDED if refusals else comparison.winner
    without = without_each_level(design, confidence, pictures, alike)
    within = within_each_level(design, confidence, pictures)
    doubtful = flagged(trials)
    judged = trials.iloc[:0] if evaluations is None else evaluated(trials, evaluations, metric)
    images = images_of(trials, judged)
    attacks = sorted(judged["attack"].unique()) if metric.endswith("_worst") and len(judged) else []
    return Verdict(
        metric=metric,
        winner=winner,
        difference=comparison.difference.value,
        low=comparison.difference.low,
        high=comparison.difference.high,
        confidence=confidence,
        shares=comparison.shares,
        interaction=interaction_share(shares, PAIR),
        interactions={
            term: share
            for term, share in shares.items()
            if ":" in term and set(term.split(":")) & set(PAIR)
        },
        seeds=len(design.seeds),
        cells=design.cells,
        images=images,
        conditions=conditions(
            trials, design, images, pictures is not None, attacks, metric.endswith("_clean")
        ),
        notes=design.notes,
        refusals=refusals,
        lacking=lacking(trials, metric, [*design.factors, block]),
        unstable=tuple(map(str, struck)),
        alike=alike,
        differs=differs,
        without=without,
        within=within,
        estimands=estimands_of(design, confidence, matched(trials)),
        power=_power(design, confidence) if comparison.winner == UNDECIDED else None,
        flags=dict(Counter(", ".join(trials.loc[doubtful, "flags"]).split(", ")))
        if doubtful.any()
        else {},
        flagged=int(doubtful.sum()),
        without_flagged=winner_without(trials, doubtful, metric, block, confidence),
    )


def leading_metric(done: pd.DataFrame, metric: str | None = None) -> str:
    """Return the metric that the verdict is on: the strongest attack's, unless one is given."""
    after = [name for name in metrics_of(done) if name.startswith("finetuned_")]
    if metric is not None:
        if metric not in after:
            raise AnalysisError(f"no metric {metric!r}; {allowed(metric, after)}")
        return metric
    return str(done[after].mean().idxmin())


def _confounds(differs: dict[str, str]) -> Iterator[str]:
    """Say which compute the criteria do not share: what they explain may be its doing."""
    spent = [f"{name} ({differs[name]})" for name in BUDGET if name in differs]
    if spent:
        yield f"criteria differ in {listed(spent)} where all else is equal"


def _readings(
    trials: pd.DataFrame, metric: str, block: str, confidence: float, winner: str
) -> Iterator[str]:
    """Say where it hangs on what trials that failed count as, so that they carry no verdict."""
    bad, odd = diverged(trials), unexplained(trials)
    if not (bad | odd).any():
        return
    seen, least = worst(trials, metric), chance(trials, metric)
    for which, reading, name in (
        (bad, counted(trials, metric, bad, seen), "diverged, counted as the worst seen"),
        (bad, trials[~bad], "diverged, left out"),
        (odd, counted(trials, metric, odd, least), "failed, counted as chance accuracy"),
    ):
        if not which.any() or not metric.startswith("finetuned_"):
            continue
        try:
            design = make_design(reading, metric, varying_factors(trials), block)
            other = compare_main_effects(design, confidence).winner
        except AnalysisError:
            other = UNDECIDED
        if other != winner:
            found = "it is undecided" if other == UNDECIDED else f"{term_name(other)} matters more"
            yield f"with the {int(which.sum())} trials that {name}, {found}"


def _power(design: Design, confidence: float) -> Power:
    terms = measured_terms(design, PAIR)
    return power(terms[PAIR[0]], terms[PAIR[1]], total_gram(design), confidence)
