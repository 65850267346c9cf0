"""``mrsweep paper``: what a paper says of a sweep, from its tables and its file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import results
from orchestrator.cli.request import open_sweep
from orchestrator.cli.tools.catalogue import print_plain
from orchestrator.errors import RequestError
from orchestrator.sweepfile.model import Sweep
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset
from results.errors import AnalysisError
from results.publish import text
from results.publish.paper import Asked, Paper, checklist, paragraph
from results.report.judged import Judged, judged
from results.statistics.design.words import percent

FORMS = {".md": text.markdown, ".tex": text.latex}
PACKAGES = (
    "mrsweep", "torch", "torchvision", "timm", "torch-pruning", "torchattacks", "ray", "numpy",
    "pandas", "scipy", "scikit-learn",
)  # fmt: skip
"""What a sweep's numbers rest on."""
LONGEST = 40
"""More than this in the field for a licence's name is its text."""


def write_paper(
    file: Path, storage: str, to: Path | None, changes: Sequence[str], console: Console
) -> None:
    """Write what a paper says of a sweep; Markdown is printed where no file is named.

    Args:
        file: The sweep file.
        storage: The storage root.
        to: The file to write, ``.md`` or ``.tex``.
        changes: Settings of the file to change, each a ``section.key=value``.
        console: Where to print.

    Raises:
        RequestError: The file has another ending, or cannot be written.
    """
    if to is not None and to.suffix not in FORMS:
        raise RequestError(f"{to}: a paper's words are .md or .tex; give one of these endings")
    plan, _ = open_sweep(file, storage, changes)
    loaded = results.load(storage, plan.sweep.name)
    heard: Judged | str
    try:
        heard = judged(loaded)
    except AnalysisError as error:
        heard = str(error)
    paper = Paper(loaded, heard, _asked(plan.sweep))
    parts = paragraph(paper), checklist(paper)
    if to is None:
        print_plain(text.markdown(*parts).rstrip())
        return
    try:
        to.write_text(FORMS[to.suffix](*parts), encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{to} cannot be written: {error.strerror}") from error
    open_ones = sum(said.open for part in parts[0] for said in part.sentences)
    console.print(f"Written to {to}; open in the paragraph: {open_ones}", highlight=False)


def _asked(sweep: Sweep) -> Asked:
    trainings = {f"dense training {name}": _words(of.training) for name, of in sweep.dense.items()}
    for name, level in sweep.finetuning.items():
        if level.epochs:
            own = Training(**level.model_dump(include=set(Training.model_fields))).resolved()
            trainings[f"fine-tuning {name}"] = f"policy {level.policy}, {_words(own)}"
    return Asked(
        splits={name: _split(data) for name, data in sweep.datasets.items()},
        trainings=trainings,
        licences={name: _licence(name) for name in PACKAGES},
    )


def _split(data: Dataset) -> str:
    each = "others at each seed" if data.split == "by-seed" else "the same at all seeds"
    limits = {
        "resized to a side of {} pixels": data.size,
        "the first {} classes": data.classes,
        "at most {} of a class": data.per_class,
        "at most {} test images of a class": data.test_per_class,
    }
    known = [words.format(n) for words, n in limits.items() if n is not None]
    held = f"{percent(data.validation)} of the training images held out for validation, {each}"
    return "; ".join([held, *known])


def _words(training: Training) -> str:
    settings = training.model_dump(mode="json", exclude_none=True)
    said = {of: f"{one:.4g}" if isinstance(one, float) else one for of, one in settings.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items())


def _licence(package: str) -> str:
    """Return the licence that a package declares; empty where it declares none in a line."""
    try:
        said = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return "Apache-2.0" if package == "mrsweep" else ""
    if "License-Expression" in said:
        return str(said["License-Expression"])
    if "License" in said and 0 < len(said["License"]) <= LONGEST:
        return str(said["License"])
    marks = [line for line in said.get_all("Classifier") or [] if line.startswith("License ::")]
    return marks[0].rpartition(" :: ")[2] if marks else ""
