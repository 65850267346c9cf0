"""Is the robustness real? Checks against false robustness."""

from __future__ import annotations

import pandas as pd

from results.report import columns
from results.report.finding import Evidence, Finding, Section


def _checks(evidence: Evidence) -> pd.DataFrame:
    """Return how the final networks did in every check."""
    checks = evidence.loaded.checks
    mine = checks[checks["network"].isin(evidence.trials["finetuned_network"])]
    if mine.empty:
        return pd.DataFrame()
    return (
        mine.groupby(["check", "stronger", "weaker"], sort=False)
        .agg(
            networks=("network", "nunique"),
            failed=("passed", lambda passed: int((~passed.astype(bool)).sum())),
            against=("against", lambda against: int(against.fillna(0).max())),
            images=("images", "max"),
        )
        .reset_index()
    )


SECTION = Section(
    name="real",
    heading="Is the robustness real?",
    link="Is the robustness real?",
    empty="No network of this sweep was checked.",
    findings=(
        Finding(
            name="sanity_checks",
            compute=_checks,
            table_caption=(
                "Checks against false robustness, of every final network: an attack that must be "
                "at least as strong leaves no more images right than another, or robustness is "
                "only apparent. Against a network speak the images that the former leaves right "
                "and the latter breaks; ten against none fail it, and flag it (exact sign test, "
                "0.001)."
            ),
            columns=(
                columns.text("check", "check"),
                columns.text("must be as strong", "stronger"),
                columns.text("as", "weaker"),
                columns.Column("networks", lambda row: str(row["networks"])),
                columns.Column("failed", lambda row: str(row["failed"])),
                columns.Column(
                    "most images against one",
                    lambda row: f"{row['against']} of {row['images']}",
                ),
            ),
        ),
    ),
)
