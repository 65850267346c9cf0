"""Croissant 1.1 metadata of a bundle, with the fields for responsible AI: JSON-LD as plain data.

Source: Croissant format specification 1.1 and Croissant RAI 1.0, MLCommons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from results.publish.about import OPEN, About, media_type, purpose
from results.tables.schema import KEY

VERSIONS = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        word: f"cr:{word}"
        for word in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract",
            "field", "fileObject", "fileProperty", "fileSet", "format", "includes", "isArray",
            "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet",
            "references", "regex", "repeated", "replace", "samplingRate", "separator", "source",
            "subField", "transform",
        )
    },
}  # fmt: skip
"""The standard context of the format."""
TYPES = {
    pa.int64(): "sc:Integer",
    pa.float64(): "sc:Float",
    pa.bool_(): "sc:Boolean",
    pa.timestamp("us", tz="UTC"): "sc:DateTime",
}
"""Of columns; all others are text."""

WRITTEN = (
    "Rows are as they were written, but that machines are numbered in place of their names, and "
    "paths in error texts are cut."
)
USE = (
    "To compare pruning criteria, ratios and fine-tunings by the accuracy of the pruned networks, "
    "with the seeds as blocks; not to rank networks by one seed."
)
PERSONS = (
    "The tables hold accuracies, settings and names of hardware, no images and nothing of persons."
)


def croissant(about: About, tables: Mapping[str, tuple[str, pa.Schema]]) -> dict[str, Any]:
    """Return the metadata.

    Args:
        about: The bundle.
        tables: By name, the path of each table and its columns.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSIONS,
        "name": f"mrsweep-{about.sweep}",
        "description": about.description,
        "license": about.licence_url,
        "creator": [{"@type": "sc:Person", "name": name} for name in about.authors],
        "datePublished": about.made.isoformat(),
        "version": "1.0.0",
        "citeAs": f"{', '.join(about.authors)}: {about.title}, {about.made.year}",
        "keywords": ["neural network pruning", "adversarial robustness", "fine-tuning"],
        "url": OPEN,
        "isLiveDataset": False,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": path,
                "name": path,
                "description": purpose(path),
                "contentUrl": path,
                "contentSize": f"{file.size} B",
                "encodingFormat": media_type(path),
                "sha256": file.sha256,
            }
            for path, file in about.files.items()
        ],
        "recordSet": [_records(name, *held) for name, held in tables.items()],
        **_responsible(about),
    }


def _records(table: str, path: str, schema: pa.Schema) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "description": f"The table {table}.",
        "key": [{"@id": f"{table}/{column}"} for column in KEY[table]],
        "field": [_field(table, path, column) for column in schema],
    }


def _field(table: str, path: str, column: pa.Field) -> dict[str, Any]:
    said = {name.decode(): text.decode() for name, text in (column.metadata or {}).items()}
    unit = f" [{said['unit']}]" if said.get("unit") else ""
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{column.name}",
        "name": column.name,
        "description": f"{said.get('meaning', column.name)}{unit}",
        "dataType": TYPES.get(column.type, "sc:Text"),
        "source": {"fileObject": {"@id": path}, "extract": {"column": column.name}},
    }


def _responsible(about: About) -> dict[str, Any]:
    """Return what is known of how the data came about; what is not is left open."""
    return {
        "rai:dataCollection": "Computed: every row was measured by mrsweep on a network that it "
        "trained, pruned or fine-tuned by the sweep file, which is part of the bundle.",
        "rai:dataCollectionType": ["Experiments", "Software Collection"],
        **({"rai:dataCollectionTimeFrame": list(about.span)} if about.span else {}),
        "rai:dataCollectionMissingData": about.missing,
        "rai:dataCollectionRawData": "The data set that the networks were trained and tested on "
        f"({', '.join(sorted(about.trials['dataset'].dropna().unique()))}); its images are not "
        "part of the bundle.",
        "rai:dataImputationProtocol": "None: no row and no value is filled in.",
        "rai:dataPreprocessingProtocol": [WRITTEN],
        "rai:dataManipulationProtocol": "None.",
        "rai:dataAnnotationProtocol": ["None: labels are those of the data set."],
        "rai:dataLimitations": list(about.caveats) or [OPEN],
        "rai:dataBiases": [OPEN],
        "rai:dataUseCases": [USE],
        "rai:dataSocialImpact": OPEN,
        "rai:personalSensitiveInformation": [PERSONS],
        "rai:dataReleaseMaintenancePlan": OPEN,
    }
