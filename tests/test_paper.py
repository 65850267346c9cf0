"""A paper's words: what tables say, in numbers that are recomputed here, and what is left open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import results
from results.publish.paper import Asked, Paper, Part, Said, checklist, paragraph
from results.publish.provenance import compute, computed
from results.publish.text import latex, markdown
from results.report.formats import escaped
from results.report.judged import Judged

from command import mrsweep

JOBS = pd.DataFrame({
    "kind": ["dense", "trial", "trial", "trial"],
    "status": ["done", "failed", "done", "done"],
    "seconds": [3600.0, 360.0, 1800.0, None],
    "start": pd.to_datetime(["2026-01-01T00:00"] * 4, utc=True),
    "end": pd.to_datetime(["2026-01-01T01:00"] * 4, utc=True),
    "gpus": [0.5, 0.5, 0.5, 1.0],
    "cpus": [1.0, 1.0, 2.0, None],
    "peak_memory": [2**30, 2**31, 3 * 2**30, None],
    "gpu_joules": [3.6e6, None, 7.2e6, None],
    "cpu_joules": [None, None, 3.6e6, None],
})  # fmt: skip
ASKED = Asked({"digits": "10 % held out"}, {"dense": "lr 0.1"}, {"torch": "BSD", "x": ""})
TRIALS = pd.DataFrame({
    "trial_id": list("abcd"), "status": ["done"] * 3 + ["failed"], "dataset": "digits",
    "architecture": "resnet8", "dense": "d", "criterion": ["l1", "l1", "l2", "l2"],
    "sparsity": 0.5, "allocation": "uniform", "granularity": "channel", "finetuning": "none",
    "seed": [0, 1, 0, 1], "finetuned_network": "n", "checkpoint": None, "version": "1",
    "commit": ["c", "c", None, None],
    "processor": "P", "accelerator": ["G", "H", "G", None],
    "finished": pd.to_datetime(["2026-01-01", "2026-01-03", "2026-01-02", None], utc=True),
})  # fmt: skip


def paper(**changes: object) -> Paper:
    evaluations = pd.DataFrame({"count": [90, 90], "network": ["n", "dense"]})
    tables = {"trials": TRIALS, "jobs": JOBS, "evaluations": evaluations, **changes}
    tables |= {"replication": {}, "missing": 2}
    return Paper(SimpleNamespace(**tables), "it is not asked", ASKED)


def said(parts: list[Part], heading: str) -> str:
    (part,) = [part for part in parts if part.heading == heading]
    return " ".join(f"[{one.text}]" if one.open else one.text for one in part.sentences)


def test_compute_is_the_sum_over_attempts_and_the_median_by_run() -> None:
    took = compute(JOBS).set_index("kind")
    assert took.loc["all", "gpu_hours"] == pytest.approx(0.5 + 0.05 + 0.25 + 1.0)
    assert took.loc["all", "cpu_hours"] == pytest.approx(1.0 + 0.1 + 1.0 + 1.0)
    assert took.loc["all", "failed_hours"] == pytest.approx(0.05)
    assert took.loc["trial", "median_seconds"] == (1800 + 3600) / 2
    assert took.loc["all", "kilowatt_hours"] == pytest.approx((3.6 + 7.2 + 3.6) / 3.6)
    assert took.loc["trial", "measured"] == 1
    words = said(paragraph(paper()), "Compute")
    assert "took 1.8 GPU-hours in 3 jobs on G and H" in words
    assert "0.05 went into 1 attempts that failed" in words
    assert "2 of 4 runs took 4 kWh" in words
    assert "at most 3 GiB" in words


def test_what_tables_do_not_know_is_open() -> None:
    unmeasured = JOBS.assign(gpu_joules=None, cpu_joules=None).astype(
        {"gpu_joules": float, "cpu_joules": float}
    )
    words = said(paragraph(paper(jobs=unmeasured)), "Compute")
    assert "[energy: no counter told it" in words
    assert "kWh" not in words
    parts = paragraph(paper())
    assert "[the licence of the data set digits]" in said(parts, "Licences")
    assert "[the licence of x, which declares none]" in said(parts, "Licences")
    assert "torch (BSD)" in said(parts, "Licences")
    assert "[the number of training images]" in said(parts, "Splits")
    assert "no jobs" in said(paragraph(paper(jobs=JOBS[:0])), "Compute")


def test_seeds_and_splits_are_those_of_the_tables_and_the_file() -> None:
    parts = paragraph(paper())
    assert "Each of 2 configurations was run at 2 seeds (0, 1)." in said(parts, "Seeds")
    assert "1 trials failed and 2 planned ones were not run." in said(parts, "Seeds")
    splits = said(parts, "Splits")
    assert "Of digits: 10 % held out." in splits
    assert "on 90 test images of digits, which" in splits


def test_without_intervals_significance_is_answered_no() -> None:
    items = checklist(paper())
    answers = {item.heading: item.answer for item in items}
    assert answers["Experiment statistical significance"] == "No"
    assert "There are no intervals: it is not asked." in said(
        items, "Experiment statistical significance"
    )
    assert answers["Licenses for existing assets"] == "TODO"
    assert "Dense: lr 0.1." in said(items, "Experimental setting/details")


def test_one_seed_carries_no_interval_and_it_says_so() -> None:
    why = {"finetuned_clean": "it takes at least 3 seeds, and there is 1"}
    heard = Judged(("finetuned_clean",), (), why, (), checked=True)
    words = said(paragraph(replace(paper(), heard=heard)), "Intervals")
    assert words == f"There are no intervals: {why['finetuned_clean']}."
    assert f"No verdict on clean accuracy: {why['finetuned_clean']}." in heard.caveats()


def test_provenance_counts_the_rows_of_each_kind() -> None:
    first, *others = computed(TRIALS)
    assert first["trials"] == 1
    assert {one.get("accelerator") for one in (first, *others)} == {"G", "H"}
    assert all("torch" not in one for one in others)


def test_both_forms_mark_what_is_open() -> None:
    parts = [Part("A & B", (Said("5 % of_it \N{MINUS SIGN}1."), Said("who", open=True)), "TODO")]
    assert "5 % of_it \N{MINUS SIGN}1. **[OPEN: who]**" in markdown(parts, parts)
    assert "Answer: **[OPEN]**" in markdown([], parts)
    tex = latex(parts, [replace(part, answer="Yes") for part in parts])
    assert r"\paragraph{A \& B.}" in tex
    assert r"5 \% of\_it $-$1. \textbf{[OPEN: who]}" in tex
    assert r"Answer: \answerYes{}" in tex
    assert escaped("a^b~c") == r"a\^{}b\~{}c"


@pytest.mark.usefixtures("alone")
def test_the_command_writes_what_a_sweep_says(here: Path, tmp_path: Path) -> None:
    ended = mrsweep("paper", "tiny.yaml", "--to", tmp_path / "p.tex")
    assert ended.returncode == 0, ended.stderr
    text = (tmp_path / "p.tex").read_text()
    loaded = results.load("runs", sweep="tiny")
    verdict = results.verdict(loaded.trials, "finetuned_fgsm", evaluations=loaded.evaluations)
    assert escaped(verdict.finding) in text
    assert r"Each of 4 configurations was run at 3 seeds (0 to 2)." in text
    assert r"Of digits: 10 \% of the training images held out for validation, the same" in text
    assert "at most 24 of a class; at most 6 test images of a class" in text
    assert "objective standard, epochs 2, batch size 16" in text
    refused = mrsweep("paper", "tiny.yaml", "--to", tmp_path / "p.doc")
    assert refused.returncode == 2
    assert ".md or .tex" in refused.stderr
