"""Is the robustness real? Checks against false robustness."""

from __future__ import annotations

import pandas as pd

from results.report.figures.checks import check_figure
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
            stronger_accuracy=("stronger_accuracy", "mean"),
            weaker_accuracy=("weaker_accuracy", "mean"),
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
            draw=lambda checks, _: check_figure(checks),
            caption=(
                "Checks against false robustness, over all final networks: an attack that must be "
                "at least as strong leaves fewer images right, or robustness is only apparent. A "
                "network fails a check, and is flagged, where that attack leaves significantly "
                "more images right (exact sign test, 0.001)."
            ),
        ),
    ),
)
