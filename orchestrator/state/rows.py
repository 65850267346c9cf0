"""Rows of the tables, from stages and what was measured; no torch."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from orchestrator.planning.attempt import Order
from orchestrator.planning.work import images_in_words
from prune_core import __version__
from prune_core.specs.registry import ATTACKS
from prune_core.specs.stages import (
    Dense,
    Evaluation,
    Finetuned,
    Pruned,
    Sanity,
    Scores,
    Trial,
    dense_of,
)
from results.tables.schema import metric_name

Row = dict[str, Any]


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


def levels_row(trial: Trial, labels: Mapping[str, Any]) -> Row:
    """Return the part of a trial's row that the plan knows already."""
    network, pruned = trial.network, trial.pruned
    row: Row = {
        "trial_id": trial.key,
        "dataset": trial.dense.dataset.name,
        "checkpoint": trial.dense.checkpoint.content if trial.dense.checkpoint else None,
        "budget": pruned.budget,
        "norm": trial.threat.norm,
        "eps": trial.threat.eps,
        "dense_network": trial.dense.key,
        "pruned_network": pruned.key,
        "finetuned_network": network.key,
        "policy": "none",
        "epochs": 0,
        "rounds": len(trial.trainings),
        "reported_epoch": 0,
        "version": __version__,
        **labels,
    }
    if isinstance(network, Finetuned):
        settings = network.training.model_dump() | network.compute.model_dump()
        settings |= network.growth.model_dump() if network.growth else {}
        row |= {
            name: ", ".join(map(str, value)) if isinstance(value, tuple) else value
            for name, value in settings.items()
        }
        row["epochs"] = sum(stage.training.epochs for stage in trial.trainings)
        row["policy"] = network.policy
    return row | {"profile": trial.dense.compute.named}


def reported(trained: Sequence[Sequence[Row]], failed_checks: Sequence[str]) -> Row:
    """Return which epoch a trial reports, of all its rounds', and what speaks against its numbers.

    ``trained`` are the rows of ``epochs`` of its trainings, the last first.
    """
    flags = list(failed_checks)
    before = sum(len(epochs) for epochs in trained[1:])
    chosen = [epoch for epochs in trained[:1] for epoch in epochs if epoch["reported"]]
    if any(epoch["collapsed"] for epoch in chosen):
        flags.append("collapsed")
    return {
        "reported_epoch": before + sum(epoch["epoch"] for epoch in chosen),
        "flags": ", ".join(flags) or None,
    }


def failed_row(trial: Trial, labels: Mapping[str, Any], error: str) -> Row:
    """Return the row of a trial that failed, or whose parent did."""
    return {
        **levels_row(trial, labels),
        "status": "failed",
        "error": error,
        "node": platform.node(),
        "finished": now(),
    }


def evaluation_row(
    stage: Evaluation,
    correct: Sequence[bool],
    accuracy: float,
    seconds: float,
    distances: Sequence[float] | None = None,
) -> Row:
    """Return the row of one attack on one network."""
    return {
        "key": stage.key,
        "network": stage.network.key,
        "stage": stage.network.network_word,
        "dataset": dense_of(stage).dataset.name,
        "split": "test",
        "attack": stage.attack,
        "norm": stage.threat.norm if stage.threat else None,
        "eps": stage.threat.eps if stage.threat else None,
        "accuracy": accuracy,
        "count": len(correct),
        "outcomes": np.packbits(np.array(correct, dtype=bool)).tobytes(),
        "distances": np.array(distances, "<f4").tobytes() if distances else None,
        "seconds": seconds,
    }


def metrics(stage: str, rows: Sequence[Row]) -> Row:
    """Return a network's accuracies as columns of ``trials``.

    With several attacks within the threat, ``worst`` is the share of images right under them all.
    """
    accuracies = {metric_name(stage, row["attack"]): row["accuracy"] for row in rows}
    bounded = [row for row in rows if "unbounded" not in ATTACKS[row["attack"]].traits]
    if len(bounded) > 2:  # clean accuracy is one of them
        left = np.logical_and.reduce([outcomes(row) for row in bounded])
        accuracies[metric_name(stage, "worst")] = float(left.mean())
    return accuracies


def outcomes(row: Row) -> list[bool]:
    """Return which images [n] an evaluation's row says are classified correctly."""
    bits = np.unpackbits(np.frombuffer(row["outcomes"], dtype=np.uint8), count=row["count"])
    right: list[bool] = bits.astype(bool).tolist()
    return right


def check_rows(stage: Sanity, checks: Iterable[Row]) -> list[Row]:
    """Return the rows of a network's sanity checks."""
    named = {"key": stage.key, "network": stage.network.key}
    return [{**named, **check} for check in checks]


def epoch_rows(network: Dense | Finetuned | Scores, history: Iterable[Row]) -> list[Row]:
    """Return the rows of a training."""
    named = {"network": network.key, "stage": network.network_word}
    return [{**named, **epoch} for epoch in history]


def module_rows(network: Pruned, modules: Iterable[Row], kept: Mapping[str, bytes]) -> list[Row]:
    """Return the rows of a pruning.

    Args:
        network: the pruned network's stage.
        modules: its reports, in the network's order.
        kept: by module, which units of the dense network it keeps.
    """
    return [
        {
            "network": network.key,
            "position": position,
            "ratio": 1 - module["width_after"] / module["width_before"],
            "kept": kept[module["module"]],
            **module,
        }
        for position, module in enumerate(modules)
    ]


def job_row(order: Order, start: datetime, **measured: Any) -> Row:
    """Return the row of one attempt at a job that ends now."""
    job = order.job
    return {
        "key": job.key,
        "kind": job.kind,
        "attempt": order.attempt,
        "architecture": job.architecture,
        "batch_size": job.batch_size,
        "dataset": images_in_words(dense_of(job.stage).dataset),
        "node": platform.node(),
        "device": order.device,
        "cpus": order.allotment.cpus,
        "gpus": order.allotment.gpus,
        "start": start,
        "end": now(),
        **measured,
    }
