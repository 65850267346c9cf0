"""``mrsweep export --format apb`` and ``robustbench``: a folder that a leaderboard takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

import results
from orchestrator.errors import RequestError
from orchestrator.planning.plan import Job, Plan
from prune_core.exports.staging import staged
from prune_core.specs.recipes import Training
from prune_core.specs.stages import Dense, Trial, dense_of
from results.report.boards import HO_FMN, pruning_submission, robustbench_entries
from results.tables.distances import unpacked
from results.tables.load import Loaded
from results.tables.storage import Storage

OPEN = "OPEN: to be filled in"
"""What the tables do not know; nothing is made up."""
TRAININGS = {
    "standard": "Natural Training (NT)",
    "pgd": "Adversarial Training (AT) PGD",
    "trades": "Adversarial Training (AT) TRADES",
}
ADDITIONAL = {True: "Yes", False: "No", None: OPEN}
CRITERIA = {
    **dict.fromkeys(("l1", "l2", "lamp"), "Lowest Weight Magnitude LWM"),
    **dict.fromkeys(("hydra", "harp", "mad", "s2ap"), "Least Importance Score (LIS)"),
}
"""As the benchmark's taxonomy sorts them."""


def export_pruning(
    plan: Plan, root: Storage, jobs: Sequence[Job], to: Path, method: str, console: Console
) -> None:
    """Write a submission to the adversarial pruning benchmark: networks, entry, issue.

    Raises:
        AnalysisError: The trials are none; it says everything that is in the way.
    """
    from orchestrator.worker.networks import export_for_benchmark

    if len(method.split("_")) != 2 or not all(method.split("_")):
        raise RequestError(
            f"--key {method!r}: the benchmark's keys are NAME_AuthorYearWord, such as "
            "HYDRA_Sehwag2020Hydra"
        )
    loaded = results.load(root.root, plan.sweep.name)
    trials = _rows(loaded, jobs)
    models = pruning_submission(trials, loaded.evaluations, loaded.checks, method)
    of = {job.key: job.stage for job in jobs}
    with staged(to) as folder:
        for model in models.to_dict("records"):
            trial, key = of[model["trial_id"]], model["model_key"]
            if isinstance(trial, Trial):
                with console.status(f"the network of {key}"):
                    export_for_benchmark(root, trial, folder / f"{key}.pt")
            if model["distances"] is not None:
                distances = unpacked(model["distances"]).tolist()
                _write(folder / f"{key}.pickle", _pickled(distances))
        first = of[models["trial_id"].iloc[0]]
        _write(folder / "entry.json", json.dumps([_entry(first, trials, method)], indent=2))
        _write(folder / "issue.md", _issue(models, dense_of(first)))
    console.print(f"Submission of {len(models)} models written to {to}", highlight=False)


def export_robustbench(
    plan: Plan, root: Storage, jobs: Sequence[Job], to: Path, console: Console
) -> None:
    """Write RobustBench's entry of every trial, and the form of its issue.

    Raises:
        AnalysisError: A trial is none; it says everything that is in the way.
    """
    loaded = results.load(root.root, plan.sweep.name)
    trials = _rows(loaded, jobs)
    of = {job.key: dense_of(job.stage) for job in jobs}
    entries = [
        {**entry, "additional_data": _more_images(of[trial])}
        for trial, entry in zip(
            trials["trial_id"],
            robustbench_entries(trials, loaded.evaluations, loaded.checks),
            strict=True,
        )
    ]
    with staged(to) as folder:
        for trial, entry in zip(trials["trial_id"], entries, strict=True):
            _write(folder / f"{trial}.json", json.dumps(entry, indent=2))
        _write(folder / "issue.md", _claims(trials, entries))
    console.print(f"Entries written to {to}: {len(entries)}", highlight=False)


def _more_images(dense: Dense) -> bool | None:
    """Say whether other images were trained on; None where a checkpoint hides it."""
    if dense.dataset.extra is not None:
        return True
    return None if dense.checkpoint else False


def _rows(loaded: Loaded, jobs: Sequence[Job]) -> pd.DataFrame:
    keys = {job.key for job in jobs}
    return loaded.trials[loaded.trials["trial_id"].isin(keys)].reset_index(drop=True)


def _write(file: Path, text: str) -> None:
    file.write_text(text + "\n", encoding="utf-8")


def _pickled(values: Sequence[float]) -> str:
    """Return a list as pickle's protocol of text has it: their form asks for one."""
    return "(l" + "".join(f"F{value!r}\na" for value in values) + "."


def _trained(training: Training, known: bool = True) -> str:
    if not known:
        return OPEN
    if not training.epochs:
        return "None"
    return TRAININGS.get(training.objective, f"{OPEN} (objective {training.objective})")


def _entry(stage: object, trials: pd.DataFrame, method: str) -> dict[str, str]:
    """Return the entry of the benchmark's taxonomy, its fields as it writes them."""
    if not isinstance(stage, Trial):
        raise TypeError("an entry is of a trial")
    dense, final = stage.dense, stage.trainings[:1]
    structures = {"weight": "Unstructured (US)", "channel": "Structured (S) channels"}
    criterion = str(trials["criterion"].iloc[0])
    return {
        "link_to_paper": OPEN,
        "ap_key": method,
        "Type of Pipeline:": "A-Methods Pruning After Training",
        "A: Pretraining ": _trained(dense.training, known=dense.training.epochs > 0),
        "A: Finetuning": _trained(final[0].training) if final else "None",
        "A: OneShot (1S) vs Iterative (IT)": "IT" if len(stage.trainings) > 1 else "1S",
        "Pruning structure": ", ".join(structures[each] for each in trials["granularity"].unique()),
        "Pruning locality": "Local Pruning (L)"
        if (trials["allocation"] == "uniform").all()
        else "Global Pruning (G)",
        "Pruning criterion": CRITERIA.get(criterion, f"{OPEN} (criterion {criterion})"),
    }


def _issue(models: pd.DataFrame, dense: Dense) -> str:
    parts = [
        "# Loading Section", "", "## JSON Entry",
        "The form mails it; entry.json has what it asks for.", "",
    ]  # fmt: skip
    theirs = f"{OPEN}; evaluate {HO_FMN}, or let their `utils/test.py` measure it"
    for number, model in enumerate(models.to_dict("records"), start=1):
        measured = model["distances"] is not None
        parts += [
            f"## Evaluation Results of Model n°{number}", "",
            f'_Model GDrive:_ "{model["model_key"]}" : ["{OPEN}", ".pt"]',
            f'_Distances GDrive:_ "{model["model_key"]}" : ["{OPEN}", ".pickle"]', "",
            f"_Clean Accuracy:_ {model['clean']:.2f}",
            f"_Robust Accuracy (AA):_ {model['autoattack']:.2f}",
            f"_Robust Accuracy (HO-FMN):_ {format(model['hofmn'], '.2f') if measured else theirs}",
            "",
        ]  # fmt: skip
    parts += ["## Architecture details and normalization", _normalised(dense)]
    parts.append("All checkpoints load strictly into the base models, under `state_dict`.")
    parts.append(
        "HO-FMN is mrsweep's: of all test images, at 8/255 as in `utils/test.py`, tuned on the "
        "first 64 of every 512."
    )
    return "\n".join(parts)


def _normalised(dense: Dense) -> str:
    if dense.normalise == "none":
        return "No model needs normalization."
    if dense.normalise is None:
        return "All models need normalization by mean and std of the training images."
    return (
        f"All models need normalization: mean {list(dense.normalise.mean)}, std "
        f"{list(dense.normalise.std)}."
    )


def _claims(trials: pd.DataFrame, entries: Sequence[dict[str, Any]]) -> str:
    parts = [
        "# Paper Information", "", f"- **Paper Title**: {OPEN}", f"- **Paper URL**: {OPEN}",
        f"- **Paper authors**: {OPEN}", "", "# Leaderboard Claim(s)", "",
    ]  # fmt: skip
    for number, (entry, norm) in enumerate(zip(entries, trials["norm"], strict=True), start=1):
        parts += [
            f"## Model {number}", "", f"- **Architecture**: {entry['architecture']}",
            f"- **Threat Model**: {'Linf' if norm == 'linf' else 'L2'}",
            f"- **eps**: {entry['eps']}", f"- **Clean accuracy**: {entry['clean_acc']}",
            f"- **Robust accuracy**: {entry['autoattack_acc']}",
            f"- **Additional data**: {ADDITIONAL[entry['additional_data']]}",
            "- **Evaluation method**: AutoAttack (torchattacks' standard version)",
            f"- **Checkpoint and code**: {OPEN}", "",
        ]  # fmt: skip
    return "\n".join(parts)
