"""Do rankings agree? Of criteria across fine-tunings, architectures, seeds; before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from results.errors import AnalysisError
from results.statistics.design.design import Array, make_design, stage_metrics, trained
from results.statistics.design.intervals import NO_ESTIMATE, Estimate
from results.statistics.design.least_squares import known_mean, whole
from results.statistics.design.units import UNITS, points, united
from results.tables.schema import STAGES

DRAWS = 1000
"""Of expected values, for an interval: its ends are then exact to a percent of the draws."""


def rank_agreement(
    trials: pd.DataFrame,
    metric: str,
    of: str = "criterion",
    across: Sequence[str] | None = None,
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how far the levels of ``of`` are ranked alike at every level of other factors.

    Kendall's tau-b between the rankings at two levels, the mean over all pairs of levels; 1 where
    all agree, 0 where they have nothing to do with one another.

    Args:
        trials: rows of ``trials``, of one data set.
        metric: the column by which levels are ranked.
        of: the factor whose levels are ranked.
        across: the factors at whose levels rankings are compared; all others where None.
        block: the column whose levels are independent repetitions.
        confidence: of the intervals.

    Returns:
        A row a factor: ``factor``, ``tau`` with ``low`` and ``high`` (see `agreement`), ``pairs``.
        The row of the seed is the agreement of single seeds with one another: noise alone keeps
        the others from reaching 1.

    Raises:
        AnalysisError: where there is one level to rank.
    """
    design = make_design(trials, metric, None, block)
    if of not in design.factors:
        raise AnalysisError(f"{of} has one level alone: nothing to rank")
    axis, count = design.factors.index(of), len(design.seeds)
    rows = []
    for other, factor in enumerate(design.factors):
        if other == axis or (across is not None and factor not in across):
            continue
        table = _two_way(design.values, axis, other)
        pairs = table.shape[1] * (table.shape[1] - 1) // 2
        rows.append((factor, *agreement(table, confidence, design.degrees), pairs))
    single = known_mean(np.moveaxis(design.values, axis, 0), tuple(range(1, len(design.factors))))
    rows.append((block, _mean_tau(single), np.nan, np.nan, count * (count - 1) // 2))
    found = pd.DataFrame(rows, columns=["factor", "tau", "low", "high", "pairs"])
    return united(found, UNITS["tau"])


def before_and_after(
    trials: pd.DataFrame,
    metric: str,
    of: str = "criterion",
    block: str = "seed",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return how far the order of criteria before fine-tuning is that after it.

    Returns:
        A row a fine-tuning (one of no epochs aside): ``finetuning``, ``tau`` with ``low`` and
        ``high``; see `agreement`.

    Raises:
        AnalysisError: where there is one level to rank, or nothing was measured before.
    """
    rows = []
    for level, part in trained(trials).groupby("finetuning", sort=True):
        pair = [make_design(part, name, None, block) for name in stage_metrics(metric).values()]
        if any(of not in design.factors for design in pair):
            raise AnalysisError(f"{of} has one level alone: nothing to rank")
        if pair[0].values.shape != pair[1].values.shape:
            raise AnalysisError("not all levels were measured before and after fine-tuning")
        moved = [np.moveaxis(whole(design), design.factors.index(of), 0) for design in pair]
        means = [
            of_stage.reshape(len(of_stage), -1, of_stage.shape[-1]).mean(1) for of_stage in moved
        ]
        found = agreement(np.stack(means, axis=1), confidence, pair[1].degrees)
        rows.append((level, *found))
    return united(pd.DataFrame(rows, columns=["finetuning", "tau", "low", "high"]), UNITS["tau"])


def agreement(table: Array, confidence: float = 0.95, degrees: float | None = None) -> Estimate:
    """Return how far columns rank alike, Kendall's tau-b, the mean over pairs of columns.

    The interval is of what the columns' expected values may be: they are drawn as Student's *t* has
    them, with the scatter of the seeds. Noise takes agreement away and never adds to it, from the
    estimate as from the draws; so the interval goes as far up as the draws lie below the estimate.

    Args:
        table: what is ranked, [levels, columns, S]; NaN where it was not run.
        confidence: of the interval; none below three seeds.
        degrees: of freedom of the seeds; one less than there are where left out.
    """
    if len(table) < 2:  # nothing to put in an order
        return NO_ESTIMATE
    run = table[:, ~np.isnan(table).any(axis=(0, 2))]
    seeds, mean = table.shape[-1], run.mean(axis=-1)
    tau = _mean_tau(table.mean(axis=-1))
    if seeds < 3 or run.shape[1] < 2:
        return NO_ESTIMATE._replace(value=tau)
    degrees = seeds - 1 if degrees is None else degrees
    random = np.random.default_rng(0)
    normal = random.standard_normal((DRAWS, seeds)) / np.sqrt(seeds * (seeds - 1))
    scale = np.sqrt(random.chisquare(degrees, (DRAWS, 1)) / degrees)
    apart = run - mean[..., None]
    drawn = mean + np.einsum("ds,lcs->dlc", normal / scale, apart)
    low, high = np.quantile(_concordance(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = min(low, tau), max(high, 2 * tau - low, tau)
    return Estimate(tau, float(max(low, -1.0)), float(min(high, 1.0)))


def _concordance(tables: Array) -> Array:
    """Return Kendall's tau between columns, the pairs' mean, of [n, levels, columns]; no ties."""
    first, second = np.triu_indices(tables.shape[1], 1)
    order = np.sign(tables[:, first] - tables[:, second])  # [n, pairs of levels, columns]
    columns = order.shape[-1]
    alike = order.sum(axis=-1) ** 2 - (order**2).sum(axis=-1)
    return np.asarray(alike.mean(axis=1) / (columns * (columns - 1)))


def rank_flow(
    trials: pd.DataFrame, metric: str, of: str = "criterion", block: str = "seed"
) -> pd.DataFrame:
    """Return the ranks of criteria before and after each fine-tuning, over all other factors.

    Args:
        trials: rows of ``trials``, of one data set.
        metric: of the fine-tuned stage; ``before`` is the same of the pruned one.
        of: the factor whose levels are ranked.
        block: the column whose levels are independent repetitions.

    Returns:
        ``step`` (``before`` or a fine-tuning; one of no epochs is as before), the level, ``mean``
        in accuracy points, ``rank`` (1 is the best).
    """
    attack = metric.partition("_")[2]
    before = f"{STAGES[1]}_{attack}"
    done = trials[(trials["status"] == "done") & trials[metric].notna()]
    means = 100 * trained(done).groupby([of, "finetuning", block])[metric].mean()
    table = means.groupby([of, "finetuning"]).mean().rename("mean").reset_index()
    table = table.rename(columns={"finetuning": "step"})
    if before in done and done[before].notna().any():
        first = (100 * done.groupby([of, block])[before].mean()).groupby(of).mean()
        table = pd.concat([first.rename("mean").reset_index().assign(step="before"), table])
    table["rank"] = table.groupby("step")["mean"].rank(ascending=False, method="first").astype(int)
    return points(table[["step", of, "mean", "rank"]].reset_index(drop=True))


def _two_way(values: Array, axis: int, other: int) -> Array:
    """Return means over all factors but two, [levels of axis, levels of other, S]."""
    moved = np.moveaxis(values, (axis, other), (0, 1))
    flat = moved.reshape(*moved.shape[:2], -1, moved.shape[-1])
    # Every ranking is of the same cells: those that all levels of ``axis`` have.
    whole = ~np.isnan(flat).any(axis=(0, 3), keepdims=True)
    count = whole.sum(axis=2)  # none where no such cell is there
    total = np.where(whole, flat, 0.0).sum(axis=2)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def _mean_tau(table: Array) -> float:
    """Return Kendall's tau-b between columns [levels, columns], the mean over pairs that have one.

    Source:
        Kendall, 1945. (The treatment of ties in ranking problems.)
    """
    first, second = np.triu_indices(len(table), 1)
    known = table[:, ~np.isnan(table).any(axis=0)]
    order = np.sign(known[first] - known[second])  # [pairs of levels, columns]
    untied = np.sqrt((order**2).sum(axis=0))
    one, other = np.triu_indices(order.shape[1], 1)
    with np.errstate(invalid="ignore"):  # all levels tied: no order, and so no tau
        taus = ((order.T @ order)[one, other] / untied[one] / untied[other]).clip(-1, 1)
    return float(np.nanmean(taus)) if np.isfinite(taus).any() else float("nan")
