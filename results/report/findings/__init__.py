"""What the report finds, section by section in the page's order: a module a section."""

from __future__ import annotations

from results.report.findings import adaptive, decides, holds, ranks, real, size

SECTIONS = (
    decides.SECTION,
    size.SECTION,
    holds.SECTION,
    ranks.SECTION,
    adaptive.SECTION,
    real.SECTION,
)
