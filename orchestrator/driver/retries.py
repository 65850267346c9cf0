"""What follows from a failed attempt: another one, elsewhere or with more, or none; pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.planning.attempt import ATTEMPTS, AttemptResult, Cause

MOST_MOVES = 5
"""Attempts at a job that each node refuses for another reason."""
FAULTS = 2
"""Jobs that a node fails, none done in between, before it is given no more."""
RESUMABLE: tuple[Cause, ...] = ("lost", "preempted", "time", "system", "storage")
"""Causes that say nothing against a job that has got further since its last failure."""


@dataclass
class Nodes:
    """Which nodes of a cluster are fit for work; without a cluster, none is known."""

    present: frozenset[str] = frozenset()
    shut: dict[str, str] = field(default_factory=dict)
    """Nodes that are given no more jobs, and why."""
    _faults: defaultdict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def fit(self) -> frozenset[str]:
        """Nodes that are there and may be given jobs."""
        return self.present - self.shut.keys()

    @property
    def suspect(self) -> tuple[str, ...]:
        """Nodes that failed a job, and did none since."""
        return tuple(sorted(self._faults))

    def see(self, present: Iterable[str]) -> None:
        """Note which nodes are there now."""
        self.present = frozenset(present)

    def well(self, node: str | None) -> None:
        """Note that a node did a job."""
        if node is not None:
            self._faults.pop(node, None)

    def close(self, node: str, why: str) -> None:
        """Give a node no more jobs, whatever others there are."""
        self.shut[node] = why

    def fault(self, node: str, key: str, why: str) -> None:
        """Note that a node failed a job; at the second it is given no more, if there are others."""
        self._faults[node][key] = why
        if len(self._faults[node]) >= FAULTS and self.fit - {node}:
            self.shut[node] = why

    def absolve(self, key: str) -> None:
        """Take back what was held against nodes for a job that is at fault itself."""
        for node, faults in list(self._faults.items()):
            if faults.pop(key, None) is not None and len(faults) < FAULTS:
                self.shut.pop(node, None)
            if not faults:
                del self._faults[node]


class Retries:
    """Judges failed attempts of one launch."""

    def __init__(self, nodes: Nodes):
        self._nodes = nodes
        self._count: Counter[tuple[str, Cause]] = Counter()
        self._far: dict[str, tuple[int, ...]] = {}
        self._avoid: dict[str, tuple[str, ...]] = {}
        self._seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def grown(self, key: str) -> int:
        """Return how often a job's memory ran out."""
        return self._count[key, "memory"]

    def avoid(self, key: str) -> tuple[str, ...]:
        """Return the nodes that a job had better not go to; often none."""
        suspect = self._nodes.suspect if self._count[key, "system"] else ()
        return tuple(sorted({*self._avoid.get(key, ()), *suspect}))

    def final(self, result: AttemptResult, far: tuple[int, ...]) -> bool:
        """Judge a failed attempt; say whether it was the last.

        Args:
            result: How it ended.
            far: How far the job is by now, as `orchestrator.state.progress` counts it.
        """
        key, cause, node = result.key, result.cause or "error", result.node
        if self._far.setdefault(key, far) != far:
            for resumable in RESUMABLE:
                self._count[key, resumable] = 0
            self._far[key] = far
        self._count[key, cause] += 1
        if node is not None and cause in ("time", "system", "storage"):
            self._avoid[key] = (*self._avoid.get(key, ()), node)
        most = ATTEMPTS[cause]
        if cause == "system" and node is not None:
            seen = self._seen[key, re.sub(r"0x[0-9a-f]+|\d+", "#", result.error or "")]
            if seen - {node}:  # the same error on two nodes is the job's own
                self._nodes.absolve(key)
                return True
            seen.add(node)
            if self._nodes.fit - {node}:
                most = MOST_MOVES
            self._nodes.fault(node, key, result.error or "")
        return self._count[key, cause] >= most
