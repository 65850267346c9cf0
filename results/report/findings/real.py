"""Is the robustness real? Checks against false robustness, and accuracy at every radius."""

from __future__ import annotations

import numpy as np
import pandas as pd

from results.report import columns
from results.report.figures.security import security_figure
from results.report.finding import Evidence, Finding, Section
from results.tables.distances import security_curves

RADII = np.linspace(0, 4, 81)
"""Of security curves, in those of the threat."""


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
            attacked=("attacked", "mean"),
            images=("images", "max"),
        )
        .reset_index()
    )


def _attacked(row: pd.Series) -> str:
    """Say on how many of the images both attacks are known; earlier rows do not tell."""
    mean = row["attacked"]
    return f"of {row['images']}" if pd.isna(mean) else f"{mean:.1f} of {row['images']}"


def _security(evidence: Evidence) -> pd.DataFrame:
    """Return mean accuracies over the radius, by data set, attack and fine-tuning."""
    evaluations = evidence.loaded.evaluations
    if "distances" not in evaluations or evaluations["distances"].isna().all():
        return pd.DataFrame()
    of = ["dataset", "finetuning"]
    trials = evidence.trials[["trial_id", *of, "eps"]]
    found = []
    for eps in trials["eps"].unique():
        curves = security_curves(evidence.loaded, radii=(eps * RADII).tolist())
        found.append(curves.merge(trials[trials["eps"] == eps], on="trial_id"))
    return (
        pd.concat(found)
        .groupby([*of, "attack", "eps", "radius"], as_index=False)
        .agg(accuracy=("accuracy", "mean"), trials=("trial_id", "nunique"))
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
                "0.001). Images are attacked until those that are left are too few to fail it."
            ),
            columns=(
                columns.text("check", "check"),
                columns.text("must be as strong", "stronger"),
                columns.text("as", "weaker"),
                columns.Column("networks", lambda row: str(row["networks"])),
                columns.Column("failed", lambda row: str(row["failed"])),
                columns.Column("images attacked, mean", _attacked),
                columns.Column("most images against one", lambda row: str(row["against"])),
            ),
        ),
        Finding(
            name="security_curves",
            compute=_security,
            draw=lambda curves, _, width: security_figure(curves, width),
            caption=(
                "Accuracy after fine-tuning over the radius of the threat, by the distance to each "
                "image's nearest misclassified one: means over trials. The dashed line is the "
                "sweep's radius. Accuracy that stays as the radius grows is not to be trusted."
            ),
        ),
    ),
)
