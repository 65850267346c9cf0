"""Under which conditions a verdict was found: they belong in its sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from results.statistics.design.design import Design
from results.statistics.design.words import listed, number, percent
from results.statistics.shares.compute import ALIKE, cost_by_finetuning

MOST_NAMED = 8
"""More levels than this are counted, not named."""


def conditions(
    trials: pd.DataFrame,
    design: Design,
    images: int | None,
    drawn: bool,
    attacks: Sequence[str] = (),
    clean: bool = False,
) -> str:
    """Return the data set, threat, images, levels and budgets of a verdict, as a sentence.

    Args:
        trials: rows of ``trials``.
        design: the metric over cells and seeds.
        images: how many test images there are; None where it is not known.
        drawn: whether other images than these are meant.
        attacks: of which the worst counts; empty where the metric is of one.
        clean: whether the metric is of images without attack.
    """
    said = [
        *([f"on {listed(names)}"] if (names := data_sets(trials)) else []),
        *([] if clean else _threat(trials)),
        *([f"by the worst of {listed(attacks)} at each image"] if attacks else []),
        _images(images, drawn),
    ]
    parts = [", ".join(said), _levels(trials, design, "criterion", "criteria")]
    parts += [_levels(trials, design, "finetuning", "fine-tunings"), _costs(trials)]
    parts += [budget(trials), _profiles(trials)]
    this = "; ".join(part for part in parts if part)
    return f"This is {this}. {_unseen(len(design.seeds))}{_repeated(trials)}"


def data_sets(trials: pd.DataFrame) -> list[str]:
    """Name the data sets, with the classes and training images of them that were used."""
    return [
        f"{name} ({', '.join(said)})"
        if (said := _used(trials[trials["dataset"] == name]))
        else name
        for name in _only(trials, "dataset")
    ]


def _used(trials: pd.DataFrame) -> list[str]:
    counts = {"classes": "classes", "train_images": "training images"}
    known = {
        what: sorted(trials[column].dropna().unique())
        for column, what in counts.items()
        if column in trials
    }
    return [f"{listed([f'{n:g}' for n in of])} {what}" for what, of in known.items() if of]


def _images(images: int | None, drawn: bool) -> str:
    if images is None:
        return "of these test images alone"
    if drawn:
        return f"judged on {images} test images, with the error of other images counted"
    return f"of these {images} test images alone"


def _threat(trials: pd.DataFrame) -> list[str]:
    if "eps" not in trials or "norm" not in trials:
        return []
    pairs = trials[["norm", "eps"]].dropna().drop_duplicates()
    return [f"under {listed([f'{norm} {radius(eps)}' for norm, eps in pairs.to_numpy()])}"
            for _ in range(min(len(pairs), 1))]  # fmt: skip


def radius(eps: float) -> str:
    """Return the radius of a threat as papers write it: ``8/255``, or three digits."""
    levels = 255 * eps
    return f"{levels:.0f}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:.3g}"


def _levels(trials: pd.DataFrame, design: Design, factor: str, plural: str) -> str:
    if factor not in design.factors:
        return ""
    levels = design.levels[design.factors.index(factor)]
    if len(levels) > MOST_NAMED:
        named = f"{len(levels)} {plural}"
        known = sorted({one for level in levels if (one := spent(trials, factor, level))})
        return f"{named} of {listed(known)}" if factor == "finetuning" and known else named
    names = []
    for level in levels:
        spent_on = spent(trials, factor, level) if factor == "finetuning" else ""
        names.append(f"{level} ({spent_on})" if spent_on else str(level))
    return f"{plural} {listed(names)}"


def _costs(trials: pd.DataFrame) -> str:
    """Say by how much the dearest fine-tuning costs more than the cheapest that costs anything."""
    cost = cost_by_finetuning(trials)
    if len(cost) < 2 or cost.iloc[-1] <= ALIKE * cost.iloc[0]:
        return ""
    times = number(cost.iloc[-1] / cost.iloc[0], 1).removesuffix(".0")
    return f"{cost.index[-1]} costs {times} times the compute of {cost.index[0]}"


def spent(trials: pd.DataFrame, factor: str, level: object) -> str:
    """Return the epochs given to a level, such as ``2 epochs``; empty where not known."""
    if "epochs" not in trials:
        return ""
    known = sorted(trials.loc[trials[factor] == level, "epochs"].dropna().unique())
    unit = "epoch" if known == [1] else "epochs"
    return f"{' or '.join(f'{one:g}' for one in known)} {unit}" if known else ""


def budget(trials: pd.DataFrame) -> str:
    """Return which shares of which cost were removed; empty where they are not known."""
    if "sparsity" not in trials or trials["sparsity"].isna().all():
        return ""
    shares = [number(100 * one, 0) for one in sorted(trials["sparsity"].dropna().unique())]
    budgets = _only(trials, "budget")
    return f"{listed(shares)} % of {listed(budgets) if budgets else 'the budget'} removed"


def _profiles(trials: pd.DataFrame) -> str:
    """Say how trainings computed, where that was not ``exact`` everywhere."""
    names = _only(trials, "profile")
    if len(names) > 1:
        return f"trained under profiles {listed(names)}, whose numbers differ by themselves too"
    return f"trained under profile {names[0]}" if names and names != ["exact"] else ""


def _only(trials: pd.DataFrame, column: str) -> list[str]:
    return sorted(map(str, trials[column].dropna().unique())) if column in trials else []


def _unseen(seeds: int) -> str:
    """Say what so few seeds may miss: with a share p of them struck, none of S is in (1 - p)^S."""
    share = 1 - 0.05 ** (1 / seeds)
    return (
        f"A failure that befalls up to {percent(share)} of seeds may by chance have befallen none "
        f"of these {seeds}."
    )


def _repeated(trials: pd.DataFrame) -> str:
    """Say where all seeds start from one file of weights, so that no training is repeated."""
    if "checkpoint" not in trials or "seed" not in trials:
        return ""
    networks = [name for name in ("architecture", "dense") if name in trials]
    started = trials[trials["checkpoint"].notna()]
    if started.empty:
        return ""
    seeds = started.groupby([*networks, "checkpoint"])["seed"].transform("nunique")
    if not (seeds > 1).any():
        return ""
    some = "" if len(started) == len(trials) and (seeds > 1).all() else " of some dense networks"
    return (
        f" All seeds{some} start from one checkpoint: they repeat what follows it, pruning and "
        "fine-tuning, and not its own training, whose chance no interval here covers."
    )
