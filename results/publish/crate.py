"""An RO-Crate of a bundle: what each file is, and the run that they came from.

Source: RO-Crate Metadata Specification 1.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from results.publish.about import OPEN, About, media_type, purpose

DESCRIPTOR = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/crate/1.2"


def crate(about: About) -> dict[str, Any]:
    """Return the metadata: a root, its files, who made them and by which run."""
    graph: list[dict[str, Any]] = [
        {
            "@id": DESCRIPTOR,
            "@type": "CreativeWork",
            "conformsTo": {"@id": PROFILE},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": about.title,
            "description": about.description,
            "datePublished": about.made.isoformat(),
            "license": {"@id": about.licence_url if about.licence else "#licence"},
            "author": _referred(_people(about)),
            "hasPart": _named(about.files),
            "mentions": {"@id": "#run"},
        },
        _licence(about),
        *_people(about),
        *(
            {
                "@id": path,
                "@type": "File",
                "name": path.rpartition("/")[2],
                "description": purpose(path),
                "contentSize": str(file.size),
                "encodingFormat": media_type(path),
                "sha256": file.sha256,
            }
            for path, file in about.files.items()
        ),
    ]
    return {"@context": f"{PROFILE}/context", "@graph": [*graph, *_run(about)]}


def _licence(about: About) -> dict[str, Any]:
    if not about.licence:
        return {"@id": "#licence", "@type": "CreativeWork", "name": OPEN, "description": OPEN}
    return {
        "@id": about.licence_url,
        "@type": "CreativeWork",
        "name": about.licence,
        "description": f"The licence {about.licence}",
    }


def _people(about: About) -> list[dict[str, Any]]:
    return [
        {"@id": f"#author-{number}", "@type": "Person", "name": name}
        for number, name in enumerate(about.authors, start=1)
    ]


def _run(about: About) -> list[dict[str, Any]]:
    """Return the run that made the tables, and the programs of the machines that it used."""
    programs = [
        {
            "@id": f"#software-{number}",
            "@type": "SoftwareApplication",
            "name": "mrsweep",
            "version": str(of.get("version", OPEN)),
            "url": OPEN,
            "softwareRequirements": ", ".join(
                f"{name} {of[name]}"
                for name in ("torch", "torchvision", "timm", "torch_pruning", "cuda")
                if name in of
            ),
            "description": f"Commit {of.get('commit', 'unknown')}, on "
            f"{of.get('accelerator') or of.get('processor') or 'an unknown machine'}: "
            f"{of['trials']} trials",
        }
        for number, of in enumerate(about.computed, start=1)
    ]
    paths = list(about.files)
    run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"The run of the sweep {about.sweep}",
        "instrument": _referred(programs),
        "object": _named(path for path in paths if path.endswith("sweep.yaml")),
        "result": _named(path for path in paths if path.startswith("tables/")),
        **(dict(zip(("startTime", "endTime"), about.span, strict=True)) if about.span else {}),
    }
    return [run, *programs]


def _referred(entities: Sequence[dict[str, Any]]) -> Any:
    return _named(str(entity["@id"]) for entity in entities)


def _named(paths: Iterable[str]) -> Any:
    """Return references as JSON-LD is to have them: one alone is no list."""
    found = [{"@id": path} for path in paths]
    return found[0] if len(found) == 1 else found
