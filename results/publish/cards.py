"""A bundle's page for people and for the Hugging Face Hub, and how it is to be cited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import yaml

from results.publish.about import OPEN, PARTS, About
from results.statistics.design.words import listed

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

SOME = ("code/", "checkpoints/", "networks/")
"""Parts that not every bundle has."""


def card(about: About, tables: Iterable[str]) -> str:
    """Return the data-set card: front matter that the Hub reads, then what people read."""
    head = {
        "pretty_name": about.title,
        "license": about.licence.lower() or "unknown",
        "tags": ["adversarial-robustness", "pruning", "mrsweep"],
        "size_categories": [_size(len(about.trials))],
        "configs": [
            {"config_name": name, "data_files": f"tables/{name}/*.parquet"}
            | ({"default": True} if name == "trials" else {})
            for name in tables
        ],
    }
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    return "\n".join(["---", front.rstrip(), "---", *_body(about), ""])


def _size(rows: int) -> str:
    return next((word for most, word in SIZES if rows < most), "1M<n<10M")


def _body(about: About) -> list[str]:
    verdicts = list(about.verdicts.values()) or ["The tables carry no verdict."]
    return [
        f"# {about.title}",
        "",
        *(f"> {sentence}\n" for sentence in verdicts),
        "## What was run",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {words} |" for name, words in about.run),
        "",
        f"Made by {', '.join(about.authors)}. Licence: {about.licence or OPEN}.",
        "[CITATION.cff](CITATION.cff) says how to cite it.",
        "",
        "## Do it again",
        "```",
        "pip install -r requirements.txt   # beside mrsweep itself, as below",
        "mrsweep reproduce .               # one trial, computed anew, and the verdict",
        f"mrsweep report sweeps/{about.sweep}/sweep.yaml --storage .",
        "```",
        f"Rows were computed by {listed(_programs(about))}. `reproduce` says whether",
        "numbers are the same to the bit, within tolerance and why, or others.",
        "The tables are plain Parquet, for pandas and the like, or for",
        f'`mrsweep.load(".", sweep="{about.sweep}").trials`.',
        "",
        "## What is in it",
        "| path | |",
        "| --- | --- |",
        *(f"| {path} | {words} |" for path, words in _parts(about)),
        "",
        "## What it cannot say",
        f"- {about.missing}",
        *(f"- {caveat}" for caveat in about.caveats),
        *_dirty(about),
    ]


def _parts(about: About) -> Iterator[tuple[str, str]]:
    """Yield what there is, and what it is, with names where they say more."""
    named = {"code/": about.methods, "checkpoints/": about.checkpoints}
    for part, words in PARTS.items():
        if part not in SOME or any(path.startswith(part) for path in about.files):
            more = f": {', '.join(named[part])}" if part in named else ""
            yield f"`{part}`", words + more


def _programs(about: About) -> list[str]:
    """Return the versions and commits of mrsweep that rows were computed by."""
    named = [f"mrsweep {of.get('version', OPEN)} (commit {of.get('commit', 'not known')})"
             for of in about.computed]  # fmt: skip
    return list(dict.fromkeys(named)) or [OPEN]


def _dirty(about: About) -> list[str]:
    commits = {str(of.get("commit", "")) for of in about.computed}
    dirty = sorted(commit for commit in commits if commit.endswith("-dirty"))
    if not dirty:
        return []
    return [f"- Rows were computed by code that differs from its commit ({', '.join(dirty)})."]


def citation(about: About) -> str:
    """Return a ``CITATION.cff`` of the data set."""
    cited = {
        "cff-version": "1.2.0",
        "message": "If you use these results, please cite them.",
        "type": "dataset",
        "title": about.title,
        "abstract": about.description,
        "authors": [{"name": name} for name in about.authors],
        "date-released": about.made.isoformat(),
        **({"license": about.licence} if about.licence else {}),
        "references": [
            {
                "type": "software",
                "title": "mrsweep",
                "version": about.version,
                "license": "Apache-2.0",
                "authors": [{"name": "The mrsweep authors"}],
            }
        ],
    }
    return yaml.safe_dump(cited, sort_keys=False, allow_unicode=True)
