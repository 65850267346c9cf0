"""What a paper says of a sweep: its compute, seeds, splits, intervals and licences.

Every sentence follows from the tables and from the sweep file as it ran. What neither knows is
marked as open, and not made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from results.publish.provenance import compute
from results.report.front import what_was_run
from results.report.judged import Judged, stopping_rule
from results.statistics.design.words import listed, metric_label, several
from results.statistics.verdict.sentences import Verdict
from results.tables.load import Loaded
from results.tables.schema import FACTORS

RUNS = {
    "dense": "a dense network", "rewind": "an earlier state of one", "sensitivity": "a sensitivity",
    "scores": "scores", "prune": "a pruning", "trial": "a trial (fine-tuning and evaluation)",
}  # fmt: skip
"""What one job of each kind makes."""
GIB = 2**30


@dataclass(frozen=True)
class Said:
    """A sentence, or what is left open for the authors."""

    text: str
    open: bool = False


@dataclass(frozen=True)
class Part:
    """Sentences under a heading; of a checklist with the answer that they support."""

    heading: str
    sentences: tuple[Said, ...]
    answer: str = ""
    """Yes or No; TODO where the authors alone know it; empty where nothing is asked."""


@dataclass(frozen=True)
class Asked:
    """What the sweep file says that tables do not.

    Attributes:
        splits: How the images of each data set are split, in words.
        trainings: Every setting of every training, by the name of the training.
        licences: Of the packages that computed it, by package.
    """

    splits: Mapping[str, str]
    trainings: Mapping[str, str]
    licences: Mapping[str, str]


@dataclass(frozen=True)
class Paper:
    """What a paper's sentences are made from."""

    loaded: Loaded
    heard: Judged | str
    """The verdicts, or why there are none."""
    asked: Asked

    @property
    def trials(self) -> pd.DataFrame:
        """The rows of ``trials``."""
        return self.loaded.trials

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that the data carry."""
        return self.heard.verdicts if isinstance(self.heard, Judged) else ()


def paragraph(paper: Paper) -> list[Part]:
    """Return the paragraph on compute, seeds, splits, intervals and licences."""
    parts = {
        "Compute": _compute(paper),
        "Seeds": _seeds(paper),
        "Splits": _splits(paper),
        "Intervals": _intervals(paper),
        "Licences": _licences(paper),
    }
    return [Part(heading, tuple(said)) for heading, said in parts.items()]


def checklist(paper: Paper) -> list[Part]:
    """Return the items of the NeurIPS checklist that a sweep has something to say on."""
    carried = any(not verdict.refusals for verdict in paper.verdicts)
    return [
        Part("Open access to data and code", tuple(_access(paper)), "TODO"),
        Part("Experimental setting/details", (*_splits(paper), *_details(paper)), "Yes"),
        Part(
            "Experiment statistical significance",
            (*_intervals(paper), *_seeds(paper)),
            "Yes" if carried else "No",
        ),
        Part("Experiments compute resources", tuple(_compute(paper)), "Yes"),
        Part("Licenses for existing assets", tuple(_licences(paper)), "TODO"),
    ]


def _compute(paper: Paper) -> Iterator[Said]:
    took = compute(paper.loaded.jobs)
    if not len(paper.loaded.jobs):
        yield Said("what it took: the tables have no jobs", open=True)
        return
    whole, parts = took.iloc[-1], took.iloc[:-1]
    hours = "gpu_hours" if whole["gpu_hours"] > 0 else "cpu_hours"
    word = "GPU-hours" if hours == "gpu_hours" else "core-hours"
    kinds = _kinds(paper.trials)
    on = f" on {listed(kinds)}" if kinds else ""
    yield Said(
        f"In total the experiments took {whole[hours]:.3g} {word} in {whole['jobs']} jobs{on}; "
        "what other sweeps share is counted whole."
    )
    if whole["failed"]:
        yield Said(
            f"Of these, {whole['failed_hours']:.3g} went into {whole['failed']} attempts that "
            "failed or were cut short."
        )
    runs = [
        f"{RUNS.get(row['kind'], row['kind'])} {row['median_seconds']:.3g} s (at most "
        f"{row['longest_seconds']:.3g})"
        for row in parts.to_dict("records")
        if row["jobs"]
    ]
    yield Said(f"The median run took: {'; '.join(runs)}.")
    if pd.notna(whole["peak_memory"]):
        yield Said(f"A run used at most {whole['peak_memory'] / GIB:.2g} GiB of memory.")
    yield from _energy(whole)
    yield Said("whether the whole project took more, such as preliminary experiments", open=True)


def _energy(whole: pd.Series) -> Iterator[Said]:
    if not whole["measured"]:
        yield Said("energy: no counter told it (NVML of GPUs, RAPL of processors)", open=True)
        return
    yield Said(
        f"{whole['measured']} of {whole['jobs'] + whole['failed']} runs took "
        f"{whole['kilowatt_hours']:.3g} kWh by the counters of processors and GPUs (RAPL, NVML)."
    )


def _kinds(trials: pd.DataFrame) -> list[str]:
    """Return the GPUs that rows were computed on, or else the processors."""
    for column in ("accelerator", "processor"):
        if kinds := sorted(map(str, trials[column].dropna().unique())):
            return kinds
    return []


def _seeds(paper: Paper) -> Iterator[Said]:
    trials = paper.trials
    seeds = sorted(map(int, trials["seed"].dropna().unique()))
    cells = len(trials[[name for name in FACTORS if name in trials]].drop_duplicates())
    at = f"{several(len(seeds), 'seed')} ({_named(seeds)})"
    yield Said(f"Each of {cells} configurations was run at {at}.")
    if trials["checkpoint"].notna().any():
        yield Said("Dense networks start from given checkpoints.")
    yield Said(
        "All networks of a seed descend from its dense networks, so the seed is a block: it is "
        "what is repeated, and intervals are over seeds."
    )
    for rule in stopping_rule(paper.loaded.replication):
        yield Said(rule)
    failed, absent = int((trials["status"] == "failed").sum()), paper.loaded.missing
    if failed or absent:
        yield Said(f"{failed} trials failed and {absent} planned ones were not run.")


def _splits(paper: Paper) -> Iterator[Said]:
    for name, words in paper.asked.splits.items():
        yield Said(f"Of {name}: {words}.")
    sets = paper.trials.set_index("finetuned_network")["dataset"].to_dict()
    measured = paper.loaded.evaluations
    counts = measured.groupby(measured["network"].map(sets))["count"].max()
    if len(counts):
        tested = listed([f"{count} test images of {name}" for name, count in counts.items()])
        yield Said(
            f"Accuracies are on {tested}, which the evaluation alone reads: criteria, ratios and "
            "the choice of epochs see training and validation images."
        )
    yield Said("the number of training images", open=True)


def _intervals(paper: Paper) -> Iterator[Said]:
    sound = [verdict for verdict in paper.verdicts if not verdict.refusals]
    if not sound:
        yield Said(f"There are no intervals: {_why_none(paper)}.")
        return
    lead, *others = sound
    more = [metric_label(verdict.metric) for verdict in others]
    yield Said(
        f"Intervals of shares of the variance are at {100 * lead.confidence:g} %, over seeds: "
        "score intervals (Wilson, 1927) of a quotient (Fieller, 1954), with Student's t at "
        f"{lead.seeds - 1} degrees of freedom."
    )
    yield Said(lead.finding)
    yield Said(lead.conditions)
    if more:
        yield Said(
            f"Verdicts on {listed(more)} have intervals of their own, each at that level by itself."
        )


def _why_none(paper: Paper) -> str:
    """Return why no metric has a verdict, by the one that leads."""
    if isinstance(paper.heard, str):
        return paper.heard
    lead = paper.heard.metrics[0]
    refused = [reason for of in paper.verdicts if of.metric == lead for reason in of.refusals]
    return listed(refused) if refused else paper.heard.missed.get(lead, "no metric has a verdict")


def _licences(paper: Paper) -> Iterator[Said]:
    known = [f"{name} ({licence})" for name, licence in paper.asked.licences.items() if licence]
    if known:
        yield Said(f"The code rests on {listed(known)}, as these packages declare it.")
    for name in (name for name, licence in paper.asked.licences.items() if not licence):
        yield Said(f"the licence of {name}, which declares none", open=True)
    for name in sorted(map(str, paper.trials["dataset"].dropna().unique())):
        yield Said(f"the licence of the data set {name}", open=True)
    if paper.trials["checkpoint"].notna().any():
        yield Said("the licence of the checkpoints that dense networks start from", open=True)


def _details(paper: Paper) -> Iterator[Said]:
    if isinstance(paper.heard, Judged):
        wanted = ("networks", "threat", "attacks", "criteria", "removed", "ratios", "fine-tuning")
        run = dict(what_was_run(paper.trials, paper.heard.metrics[0], None))
        yield from _facts((name, run[name]) for name in wanted if name in run)
    yield from _facts(paper.asked.trainings.items())
    yield Said("how settings were chosen, by which data", open=True)


def _facts(facts: Iterable[tuple[str, str]]) -> Iterator[Said]:
    return (Said(f"{name[:1].upper()}{name[1:]}: {words}.") for name, words in facts)


def _access(paper: Paper) -> Iterator[Said]:
    programs = paper.trials["version"] + paper.trials["commit"].map(
        " (commit {})".format, na_action="ignore"
    ).fillna("")
    named = sorted(map(str, programs.dropna().unique()))
    yield Said(
        f"All numbers were computed by mrsweep {listed(named)}. Its command bundle writes the "
        "sweep file, tables, code of own methods, versions and provenance for an archive, and its "
        "command reproduce does a trial of these again."
    )
    yield Said("where the bundle is published", open=True)


def _named(seeds: list[int]) -> str:
    run = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if run else ", ".join(map(str, seeds))
