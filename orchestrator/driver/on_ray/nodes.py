"""The nodes of a Ray cluster: what each has, whether more may be added, and how to ask for them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray._private.state import state
from ray.autoscaler.sdk import request_resources
from ray.experimental.internal_kv import _internal_kv_get

from orchestrator.driver.places import Resources

STATUS = "__autoscaling_status"
"""Where Ray's monitor says what it sees; it offers no other way to learn it."""
SETTLED = 20.0
"""Seconds after which a monitor that has said nothing is taken for none."""
FIXED = "node_"
"""How the types of nodes begin that were not made by an autoscaler."""


def present() -> dict[str, Resources]:
    """Return what each node that is alive has, by its id; of those that are being drained, none.

    What runs there may go on until the node is gone, but Ray gives it nothing new.
    """
    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # ray leaves it untyped
    drained = leaving()
    there = (node for node in nodes if node["Alive"] and node["NodeID"] not in drained)
    return {node["NodeID"]: node["Resources"] for node in there}


def leaving() -> set[str]:
    """Return the nodes of which Ray was told that they are to go (`ray drain-node`, a spot notice).

    Ray offers no public way to learn it.
    """
    return set(state.get_draining_nodes())


def autoscales(seconds: float = SETTLED) -> bool:
    """Say whether an autoscaler may add nodes to the cluster.

    Its monitor may have begun a moment ago; it is waited for, at most so many ``seconds``.
    """
    until = time.monotonic() + seconds
    while (report := _report()) is None and time.monotonic() < until:
        time.sleep(0.5)
    types: Mapping[str, str] = (report or {}).get("node_type_mapping") or {}
    return any(not kind.startswith(FIXED) for kind in types.values())


def launching() -> bool:
    """Say whether the autoscaler has nodes on their way."""
    report = _report() or {}
    return bool(report.get("pending_launches") or report.get("pending_nodes"))


def _report() -> dict[str, Any] | None:
    report: dict[str, Any] | None = json.loads(_internal_kv_get(STATUS) or "{}").get(
        "autoscaler_report"
    )
    return report


def ask_for(bundles: Sequence[Resources]) -> None:
    """Ask the autoscaler for nodes that hold all of these at once; nothing lets them go again."""
    request_resources(bundles=[dict(bundle) for bundle in bundles])
