"""The first screen: the answer in a sentence, the two shares that it stands on, what was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from results.report import ratios
from results.statistics.design.design import metrics_of, stage_metrics
from results.statistics.design.intervals import Estimate
from results.statistics.design.words import DASH, listed, metric_label, number, percent, possible
from results.statistics.shares.comparison import PAIR, UNDECIDED
from results.statistics.verdict.conditions import budget, data_sets, radius, spent
from results.statistics.verdict.sentences import Verdict

NAMES = {"finetuning": "fine-tuning", "criterion": "criterion"}
MOST_NAMED = 12
"""More levels than this are counted, not named."""


@dataclass(frozen=True)
class Bar:
    """The share of one factor at one stage, with its interval; all in percent of the variance."""

    factor: str
    stage: str
    after: bool
    share: float
    low: float
    high: float
    words: str

    @property
    def width(self) -> float:
        """The length of the interval."""
        return self.high - self.low


def headline(verdicts: tuple[Verdict, ...], why: str, rows: pd.DataFrame, asked: str) -> str:
    """Return the answer to a sweep's question, or why its data carry none.

    Args:
        verdicts: by metric, the one that leads first; empty where the data carry none.
        why: the reason for that.
        rows: what ratios add, as `ratios.against_uniform` has it.
        asked: the question.
    """
    if asked == ratios.OF_RATIOS and (said := ratios.answer(rows)):
        return said
    return answer(verdicts[0]) if verdicts else f"These data carry no verdict: {why}."


def so_far(said: str) -> str:
    """Return an answer as that of a sweep of which trials have not been run yet."""
    return f"So far, {_within(said)}"


def _within(said: str) -> str:
    """Return an answer as it reads after an introduction."""
    return said[:1].lower() + said[1:].replace(": it explains", " explains", 1)


def answer(verdict: Verdict) -> str:
    """Return the verdict in one plain sentence with two numbers."""
    if verdict.refusals:
        return f"These data carry no verdict, since {listed(verdict.refusals)}."
    explained = {name: percent(possible(verdict.shares[name].value)) for name in PAIR}
    if verdict.noisy:
        return (
            f"These data do not decide it: in {metric_label(verdict.metric)}, networks hardly "
            "differ by more than noise."
        )
    if verdict.winner == UNDECIDED:
        return (
            "These data do not decide it: fine-tuning explains "
            f"{explained['finetuning']} of the variance of {metric_label(verdict.metric)} between "
            f"networks, the criterion {explained['criterion']}."
        )
    first, second = PAIR if verdict.winner == PAIR[0] else PAIR[::-1]
    head = "The fine-tuning" if first == "finetuning" else "The criterion"
    return (
        f"{head}: it explains {explained[first]} of the variance of "
        f"{metric_label(verdict.metric)} between networks, the {NAMES[second]} {explained[second]}."
    )


def alone(by_dataset: Mapping[str, tuple[Verdict, ...]]) -> list[str]:
    """Return the answer on each data set alone, as a sentence each."""
    said = {name: answer(of[0]) for name, of in by_dataset.items() if of}
    return [f"On {name} alone, {_within(one)}" for name, one in said.items()]


def bars(verdict: Verdict, shares: pd.DataFrame | None) -> list[Bar]:
    """Return both shares after fine-tuning and the criterion's before it, as far as known.

    Args:
        verdict: of the fine-tuned networks.
        shares: ``term``, ``stage``, ``share``, ``low``, ``high``, as the finding
            ``variance_shares`` has them; None where the data carry none.
    """
    found = [_bar(name, "after fine-tuning", verdict.shares[name]) for name in PAIR]
    if shares is not None:
        before = shares[(shares["term"] == "criterion") & (shares["stage"] == "pruned")]
        for share, low, high in before[["share", "low", "high"]].to_numpy():
            found.append(_bar("criterion", "before fine-tuning", Estimate(share, low, high)))
    return [bar for bar in found if bar is not None]


def _bar(factor: str, stage: str, share: Estimate) -> Bar | None:
    value, low, high = (100 * possible(end) for end in share)
    if not low < high:
        return None
    words = f"{number(value, 0)} % ({number(low, 0)} to {number(high, 0)} %)"
    return Bar(NAMES[factor], stage, stage == "after fine-tuning", value, low, high, words)


def by_metric(verdicts: tuple[Verdict, ...]) -> pd.DataFrame:
    """Return a row a metric: both shares, their difference with its interval, what they say."""
    rows = []
    for verdict in verdicts:
        ends = (possible(end, -1) for end in (verdict.difference, verdict.low, verdict.high))
        difference, low, high = ends
        conclusion = "no verdict" if verdict.refusals else NAMES.get(verdict.winner, "undecided")
        row = {name: possible(verdict.shares[name].value) for name in PAIR}
        rows.append(
            {
                "metric": verdict.metric,
                **row,
                "difference": difference,
                "low": low,
                "high": high,
                "more": conclusion,
                "depends_on": DASH if verdict.refusals else verdict.hangs_on or "no single level",
            }
        )
    return pd.DataFrame(rows)


def what_was_run(
    trials: pd.DataFrame, metric: str, images: int | None, epochs: pd.DataFrame | None = None
) -> list[tuple[str, str]]:
    """Return what a reader must know of a sweep, in the order of a paper's section on it.

    Args:
        trials: rows of ``trials``.
        metric: the metric that leads.
        images: how many test images there are; None where it is not known.
        epochs: rows of ``epochs``, for how long the dense networks were trained; None for unknown.
    """
    done = trials[trials["status"] == "done"]
    attacks = [metric_label(m).removesuffix(" accuracy") for m in metrics_of(done)
               if m.startswith("finetuned_") and not m.endswith(("_worst", "_clean"))]  # fmt: skip
    trained = {} if epochs is None else dict(epochs.groupby("network")["epoch"].max())
    seeds = _levels(trials, "seed")
    rows = [
        ("data set" if len(sets := data_sets(trials)) == 1 else "data sets",
         ", ".join([*sets, *([f"{images} test images"] if images else [])])),
        ("networks", "; ".join(_networks(done, metric, trained))),
        ("threat", _threats(trials)),
        ("attacks", listed(list(dict.fromkeys(attacks))) if attacks else ""),
        ("criteria", ", ".join(_levels(trials, "criterion"))),
        ("removed", _removed(trials)),
        ("ratios", ", ".join(_levels(trials, "allocation"))),
        ("fine-tuning", ", ".join(_finetunings(trials))),
        ("seeds", f"{trials['seed'].nunique()} ({', '.join(seeds)})"),
        ("computed", "; ".join(_computed(done))),
    ]  # fmt: skip
    return [(name, words) for name, words in rows if words]


def _levels(trials: pd.DataFrame, column: str) -> list[str]:
    if column not in trials:
        return []
    levels = [str(level) for level in sorted(trials[column].dropna().unique())]
    return levels if len(levels) <= MOST_NAMED else [f"{len(levels)} of them"]


def _networks(done: pd.DataFrame, metric: str, trained: Mapping[str, int]) -> Iterator[str]:
    """Yield each architecture with its dense networks: their epochs and mean accuracies."""
    wanted = {"dense_clean": "", stage_metrics(metric)["pruned"].replace("pruned", "dense", 1): ""}
    known = [name for name in wanted if name in done]
    alike = "dataset" not in done or done["dataset"].nunique() == 1
    which = done["architecture"] if alike else done["architecture"] + " on " + done["dataset"]
    for name, part in done.groupby(which, sort=True):
        dense = part.drop_duplicates("dense_network")
        said = [f"{metric_label(one).removesuffix(' accuracy')} {percent(dense[one].mean(), 1)}"
                for one in known if dense[one].notna().any()]  # fmt: skip
        long = sorted({trained[one] for one in dense["dense_network"] if one in trained})
        spent_on = f", {' or '.join(map(str, long))} epochs" if long else ""
        yield f"{name} (dense{spent_on}: {', '.join(said)})" if said else str(name)


def _threats(trials: pd.DataFrame) -> str:
    if not {"norm", "eps"} <= set(trials):
        return ""
    pairs = trials[["norm", "eps"]].dropna().drop_duplicates().sort_values(["norm", "eps"])
    said = []
    for norm, eps in pairs.to_numpy():
        mine = trials[(trials["norm"] == norm) & (trials["eps"] == eps)]
        on = f" on {', '.join(_levels(mine, 'dataset'))}" if len(pairs) > 1 else ""
        said.append(f"{norm}, eps {radius(eps)}{on}")
    return "; ".join(said)


def _removed(trials: pd.DataFrame) -> str:
    words = budget(trials).removesuffix(" removed").replace(" params", " parameters")
    granularities = ", ".join(_levels(trials, "granularity"))
    return f"{words}, by {granularities}" if words and granularities else words


def _finetunings(trials: pd.DataFrame) -> Iterator[str]:
    levels = _levels(trials, "finetuning")
    for level in levels:
        epochs = spent(trials, "finetuning", level)
        yield f"{level} ({epochs})" if epochs else level


def _computed(done: pd.DataFrame) -> Iterator[str]:
    """Yield by what and when rows were computed."""
    for column, word in (("version", "mrsweep "), ("commit", "commit "), ("torch", "torch "),
                         ("processor", ""), ("accelerator", "")):  # fmt: skip
        if found := _levels(done, column):
            yield word + ", ".join(found)
    if "finished" in done and done["finished"].notna().any():
        yield f"until {pd.Timestamp(done['finished'].max()):%Y-%m-%d}"
