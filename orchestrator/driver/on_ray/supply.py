"""Supply: whether there is room for a job now; what waits for nodes, named, and asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from datetime import datetime

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.driver.on_ray import nodes
from orchestrator.driver.places import ACCELERATOR, Places, Resources, bundle
from orchestrator.planning.attempt import Allotment, Order
from orchestrator.planning.plan import Job

LOOK = 2.0
"""Seconds between two looks at the nodes."""
MOST_ASKED = 200
"""Of jobs alike, as many are asked room for at once: an autoscaler packs them one by one."""


class Supply:
    """The nodes of a cluster, as one launch sees them."""

    def __init__(self, launch: Launch, patience: float, growing: bool = False):
        self.places = Places()
        self.growing = growing
        self._launch, self._patience = launch, patience
        self._looked = 0.0
        self._since: dict[str, datetime] = {}
        self._idle_since: float | None = None
        self._asked: list[Resources] = []
        self._off: dict[str, tuple[str, ...]] = {}
        launch.could = lambda allotment: self.growing or self.could(allotment)
        self.look()

    def could(self, allotment: Allotment) -> bool:
        """Say whether a node holds so much when nothing else runs there."""
        return bool(self.places.could(bundle(allotment), self._launch.nodes.shut))

    def check(self) -> None:
        """Refuse jobs that no single node holds, where none may be added.

        Raises:
            ResourceError: It names them, and what there is.
        """
        if self.growing:
            return
        jobs: dict[Hashable, Job] = {}
        for key in self._launch.state.needed:
            job = self._launch.plan.jobs[key]
            jobs.setdefault((job.kind, job.architecture, job.batch_size), job)
        faults = dict.fromkeys(
            f"a {job.kind} job takes {_words(wanted)}"
            for job in jobs.values()
            if not self.places.could(wanted := bundle(self._launch.needs(job)[0]))
        )
        if faults:
            raise ResourceError(
                f"{'; '.join(faults)}; no node has that. The nodes have: {self._there()}. "
                "Change resources in the sweep file, or --device"
            )

    def fits(self, allotment: Allotment, avoid: Sequence[str]) -> bool:
        """Say whether a node has room for a job now."""
        wanted = bundle(allotment)
        return self.places.room(wanted, self.off(allotment, avoid)) is not None

    def off(self, allotment: Allotment, avoid: Sequence[str]) -> tuple[str, ...]:
        """Return the nodes that a job is kept off."""
        return self.places.off(bundle(allotment), avoid, self._launch.nodes.shut)

    def hand_out(self, order: Order) -> tuple[str, ...]:
        """Note that a job is handed out; return the nodes that it is kept off."""
        key, off = order.job.key, self.off(order.allotment, order.avoid)
        self.places.take(key, bundle(order.allotment), off)
        self._off[key] = off
        return off

    def strands(self, order: Order) -> bool:
        """Say whether a job that waits cannot start any more, or would where it now should not."""
        off = self.off(order.allotment, order.avoid)
        return not self.could(order.allotment) or not {*off} <= {*self._off[order.job.key]}

    def leave(self, key: str) -> None:
        """Note that a job has ended, or is taken back."""
        self.places.leave(key)
        self._off.pop(key, None)

    def look(self) -> None:
        """Look at the nodes from time to time; name what nothing fits, and ask for room.

        Raises:
            ResourceError: Nothing has run for too long, for nothing fits, and none may be added.
        """
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        there = nodes.present()
        self.places.see(there)
        self._launch.nodes.see(node for node, has in there.items() if has.get("CPU", 0))
        lacking = Counter(dict(self._lacking()))
        self._name(lacking)
        if self.growing:
            self._ask()
        elif not lacking or self.places.in_use():
            self._idle_since = None
        else:
            self._idle_since = self._idle_since or self._looked
            if self._looked - self._idle_since > self._patience:
                raise ResourceError(
                    f"no node has had {' or '.join(lacking)} for {self._patience / 60:.0f} "
                    f"minutes, and nothing else is left to do. The nodes have: {self._there()}. "
                    "Finished work is kept; the same command goes on"
                )

    def _lacking(self) -> Iterator[tuple[str, int]]:
        """Give what ready jobs take that no node holds, and how many they are."""
        for job, count in self._launch.scheduler.ready():
            wanted = bundle(self._launch.needs(job)[0])
            if not self.places.could(wanted, self._launch.nodes.shut):
                yield _words(wanted), count

    def _name(self, lacking: Counter[str]) -> None:
        for what, count in lacking.items():
            if what not in self._since:
                self._since[what] = datetime.now().astimezone()
                asked = ", asked for" if self.growing else ""
                waiting = f"{count} jobs wait" if count > 1 else "1 job waits"
                self._launch.progress.noted(
                    f"{waiting} for a node with {what} since "
                    f"{self._since[what]:%H:%M:%S}{asked}; the nodes have: {self._there()}"
                )
        for what in [what for what in self._since if what not in lacking]:
            del self._since[what]
            self._launch.progress.noted(f"no job waits any more for a node with {what}")

    def _ask(self) -> None:
        ready = self._launch.scheduler.ready() if not self._launch.stopping else []
        wanted = list(self.places.in_use())
        for job, count in ready:
            wanted += [bundle(self._launch.needs(job)[0])] * min(count, MOST_ASKED)
        if wanted != self._asked:
            nodes.ask_for(wanted)
            self._asked = wanted

    def close(self) -> None:
        """Ask for nothing any more."""
        if self._asked:
            nodes.ask_for([])

    def _there(self) -> str:
        kinds = Counter(_words(has) for has in nodes.present().values())
        return ", ".join(f"{count} x {what}" for what, count in kinds.items()) or "none"


def _words(has: Resources) -> str:
    """Return resources as people write them."""
    parts = [
        f"{has[name]:g} {name}{'s' if has[name] != 1 else ''}"
        for name in ("CPU", "GPU")
        if has.get(name)
    ]
    parts += [name.removeprefix(ACCELERATOR) for name in has if name.startswith(ACCELERATOR)]
    if memory := has.get("memory"):
        parts.append(f"{memory / 2**30:.1f} GiB")
    return " and ".join(parts) or "nothing to compute with"
