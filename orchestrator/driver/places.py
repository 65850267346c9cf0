"""Places: which node has room for a job now, and what no node could ever hold; pure.

Ray chooses the node; what is counted here is where it could be, until the job says where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from orchestrator.planning.attempt import Allotment

Resources = Mapping[str, float]
ACCELERATOR = "accelerator_type:"
ROUNDING = 1e-6

Fits = Callable[[Allotment, tuple[str, ...]], bool]
"""Whether there is room now for what a job is given, off the nodes that it had better not go to."""


def everywhere(*_: object) -> bool:
    """Say that there is room, as an executor does that takes one job at a time."""
    return True


def bundle(allotment: Allotment) -> dict[str, float]:
    """Return an allotment as Ray counts resources."""
    wanted = {
        "CPU": allotment.cpus, "GPU": allotment.gpus, "memory": float(allotment.memory or 0),
    }  # fmt: skip
    if allotment.accelerator:
        wanted[f"{ACCELERATOR}{allotment.accelerator}"] = 0.001  # so pinned, not used up
    return {name: size for name, size in wanted.items() if size}


def holds(has: Resources, wanted: Resources) -> bool:
    """Say whether one node has all that is wanted."""
    return all(size <= has.get(name, 0.0) + ROUNDING for name, size in wanted.items())


class Places:
    """What every node has, and what the jobs that were handed out take of it."""

    def __init__(self) -> None:
        self._nodes: dict[str, Resources] = {}
        self._left: dict[str, dict[str, float]] = {}
        self._taken: dict[str, tuple[str | None, Resources]] = {}

    def see(self, nodes: Mapping[str, Resources]) -> None:
        """Note what nodes there are now, and what each has in all."""
        if nodes != self._nodes:
            self._nodes = dict(nodes)
            self._left = {node: dict(has) for node, has in nodes.items()}
            for where, wanted in self._taken.values():
                self._add(where, wanted, -1)

    def could(self, wanted: Resources, off: Collection[str] = ()) -> list[str]:
        """Return the nodes that hold so much when nothing else runs there."""
        return [node for node, has in self._nodes.items() if node not in off and holds(has, wanted)]

    def off(self, wanted: Resources, avoid: Iterable[str], shut: Iterable[str]) -> tuple[str, ...]:
        """Return the nodes that a job is kept off: those to avoid too, where others could do it."""
        both = {*avoid, *shut}
        kept = both if self.could(wanted, both) else set(shut)
        return tuple(sorted(kept & self._nodes.keys()))

    def room(self, wanted: Resources, off: Collection[str] = ()) -> str | None:
        """Return a node with room for so much now, the fullest such; None where there is none."""
        fitting = [node for node in self.could(wanted, off) if holds(self._left[node], wanted)]
        return min(fitting, key=lambda node: sum(self._left[node].values()), default=None)

    def take(self, key: str, wanted: Resources, off: Collection[str] = ()) -> None:
        """Note that a job was handed out."""
        node = self.room(wanted, off)
        self._taken[key] = (node, wanted)
        self._add(node, wanted, -1)

    def settle(self, key: str, node: str) -> None:
        """Note where a job really is."""
        where, wanted = self._taken.get(key, (node, {}))
        if where != node:
            self._add(where, wanted, 1)
            self._add(node, wanted, -1)
            self._taken[key] = (node, wanted)

    def leave(self, key: str) -> None:
        """Note that a job has ended."""
        where, wanted = self._taken.pop(key, (None, {}))
        self._add(where, wanted, 1)

    def in_use(self) -> list[Resources]:
        """Return what jobs that were handed out take."""
        return [wanted for _, wanted in self._taken.values()]

    def _add(self, node: str | None, wanted: Resources, sign: int) -> None:
        left = self._left.get(node or "", {})  # of a node that is gone, nothing
        for name, size in wanted.items():
            left[name] = left.get(name, 0.0) + sign * size
