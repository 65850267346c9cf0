"""What two public leaderboards take: trials that are submissions, and why others are none.

The adversarial pruning benchmark (Piras et al., 2024, arXiv 2409.01249) has two networks, two data
sets and three sparsities a structure; RobustBench (Croce et al., 2020, arXiv 2010.09670) has dense
networks mostly, by data set and threat.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from results.errors import AnalysisError
from results.tables.distances import unpacked

ARCHITECTURES = {"apb-resnet18": "R18", "apb-vgg16": "V16"}
DATASETS = {"cifar10": "CIFAR10", "svhn": "SVHN"}
STRUCTURES = {"weight": "US", "channel": "S"}
SPARSITIES = {"weight": (0.9, 0.95, 0.99), "channel": (0.5, 0.75, 0.9)}
EPS = 0.031
IMAGES = 10_000
"""The test images that both boards attack."""
HO_FMN = "ho-fmn-32"
"""The attack whose distances the benchmark draws, and of which its figure is at another radius."""
HO_FMN_EPS = 8 / 255
METHOD = ("dense", "criterion", "allocation", "finetuning", "seed")
"""What is one in a submission: a method, and a single run of it."""
THREATS = {("cifar10", "linf"): 8 / 255, ("cifar100", "linf"): 8 / 255, ("cifar10", "l2"): 0.5}
"""RobustBench's, by data set and norm."""
ROBUSTBENCH = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue",
    "architecture", "eps", "clean_acc", "reported", "autoattack_acc",
)  # fmt: skip
"""The fields of its files."""


def pruning_submission(
    trials: pd.DataFrame, evaluations: pd.DataFrame, checks: pd.DataFrame, method: str
) -> pd.DataFrame:
    """Return the models of a submission to the adversarial pruning benchmark, a row each.

    Where ``ho-fmn-32`` was evaluated, ``hofmn`` is the share of test images farther than 8/255, in
    per cent, and ``distances`` are those of ``evaluations``.

    Args:
        trials: rows of ``trials``: of one method and seed.
        evaluations: rows of ``evaluations`` with those of the final networks.
        checks: rows of ``checks`` with those of the final networks.
        method: the benchmark's key of the method, such as ``HYDRA_Sehwag2020Hydra``.

    Raises:
        AnalysisError: with everything that makes the trials no submission.
    """
    faults = [
        *_common_faults(trials, evaluations, checks),
        *_not_one_method(trials),
        *_others(trials, "dataset", DATASETS),
        *_others(trials, "architecture", ARCHITECTURES),
        *_others(trials, "granularity", STRUCTURES),
        *_others(trials, "budget", ("params",)),
        *_sparsity_faults(trials),
        *_threat_faults(trials),
    ]
    if faults:
        raise AnalysisError(f"no submission to the benchmark: {'; '.join(faults)}")
    found = evaluations[evaluations["attack"] == HO_FMN].set_index("network")
    distances = [found["distances"].get(network) for network in trials["finetuned_network"]]
    return pd.DataFrame(
        {
            "model_key": [
                "_".join((method, ARCHITECTURES[row["architecture"]], DATASETS[row["dataset"]],
                          STRUCTURES[row["granularity"]], f"{100 * row['sparsity']:.0f}"))
                for _, row in trials.iterrows()
            ],
            "trial_id": list(trials["trial_id"]),
            "clean": [round(100 * value, 2) for value in trials["finetuned_clean"]],
            "autoattack": [round(100 * value, 2) for value in trials["finetuned_autoattack"]],
            "hofmn": [_farther(packed) for packed in distances],
            "distances": distances,
            "removed": [round(100 * value, 2) for value in trials["params_removed"]],
        }
    )  # fmt: skip


def _farther(distances: bytes | None) -> float | None:
    """Return the per cent of images whose nearest misclassified one is outside the ball."""
    if distances is None:
        return None
    return round(100 * float((unpacked(distances) > HO_FMN_EPS).mean()), 2)


def robustbench_entries(
    trials: pd.DataFrame, evaluations: pd.DataFrame, checks: pd.DataFrame
) -> list[dict[str, Any]]:
    """Return RobustBench's entry of every trial; what tables do not know is None.

    Raises:
        AnalysisError: with everything that makes one of them no entry.
    """
    faults = [*_common_faults(trials, evaluations, checks)]
    for (dataset, norm), part in trials.groupby(["dataset", "norm"]):
        eps = THREATS.get((str(dataset), str(norm)))
        if eps is None:
            taken = ", ".join(f"{name} under {threat}" for name, threat in THREATS)
            faults.append(f"{dataset} under {norm}; it takes {taken}")
        elif ((part["eps"] - eps).abs() > 1e-9).any():
            faults.append(f"{dataset} under {norm} is for eps {_radius(eps)}")
    if faults:
        raise AnalysisError(f"no entry of RobustBench: {'; '.join(faults)}")
    entries = []
    for _, row in trials.iterrows():
        known = {
            "number_forward_passes": 1,
            "dataset": row["dataset"],
            "architecture": row["architecture"],
            "eps": _radius(row["eps"]),
            "clean_acc": f"{100 * row['finetuned_clean']:.2f}",
            "autoattack_acc": f"{100 * row['finetuned_autoattack']:.2f}",
        }
        entries.append({field: known.get(field) for field in ROBUSTBENCH})
    return entries


def _radius(eps: float) -> str:
    return "8/255" if abs(eps - 8 / 255) < 1e-9 else f"{eps:g}"


def _common_faults(
    trials: pd.DataFrame, evaluations: pd.DataFrame, checks: pd.DataFrame
) -> Iterator[str]:
    """Say what no board takes: too little done, or what was done not to be trusted."""
    if trials.empty:
        yield "no trial has run"
        return
    if undone := int((trials["status"] != "done").sum()):
        yield f"{undone} of its trials are not done"
    if "finetuned_autoattack" not in trials or trials["finetuned_autoattack"].isna().any():
        yield "every network needs autoattack among evaluation.attacks"
    else:
        attacked = evaluations[
            evaluations["network"].isin(trials["finetuned_network"])
            & (evaluations["attack"] == "autoattack")
        ]
        if (attacked["count"] < IMAGES).any():
            yield f"autoattack saw {int(attacked['count'].min())} test images, fewer than {IMAGES}"
    if failed := sorted(set(trials["flags"].dropna())):
        yield f"checks against false robustness failed: {', '.join(failed)}"
    if not trials["finetuned_network"].isin(checks["network"]).all():
        yield "networks that were not checked for false robustness (evaluation.sanity_images)"


def _not_one_method(trials: pd.DataFrame) -> Iterator[str]:
    for factor in METHOD:
        levels = sorted(map(str, trials[factor].unique()))
        if len(levels) > 1:
            yield f"several of {factor} ({', '.join(levels)}): select one"


def _others(trials: pd.DataFrame, column: str, taken: Any) -> Iterator[str]:
    if others := sorted(set(trials[column]) - set(taken)):
        yield f"{column} {', '.join(others)}; it takes {' and '.join(taken)}"


def _sparsity_faults(trials: pd.DataFrame) -> Iterator[str]:
    known = trials[trials["granularity"].isin(SPARSITIES)]
    for (network, data, granularity), part in known.groupby(
        ["architecture", "dataset", "granularity"]
    ):
        wanted, given = set(SPARSITIES[str(granularity)]), set(part["sparsity"])
        if given != wanted:
            asked = ", ".join(f"{100 * share:g}" for share in sorted(wanted))
            have = ", ".join(f"{100 * share:g}" for share in sorted(given))
            yield f"{network} on {data} by {granularity} has {have} %; it takes all of {asked} %"
    if missed := int(trials["shortfall"].notna().sum()):
        yield f"{missed} networks miss their sparsity by over a point"


def _threat_faults(trials: pd.DataFrame) -> Iterator[str]:
    threats = trials[["norm", "eps"]].drop_duplicates().itertuples(index=False)
    others = [f"{norm} {eps:g}" for norm, eps in threats if norm != "linf" or abs(eps - EPS) > 1e-9]
    if others:
        yield f"threat {', '.join(others)}; it takes linf {EPS}"
