"""What a person sees while a sweep runs: a live display, or plain lines without a terminal."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job, Plan
from prune_core.specs.stages import JOB_KINDS

SAME_ERRORS = 3
"""Failures with one error that are printed; further ones are counted."""
SHOWN = 4
"""Jobs in training that the display tells of."""
LINE_EVERY = 10.0
"""Seconds between two plain lines."""


@dataclass
class Tally:
    """Counts of a running launch, by kind of job."""

    plan: Plan
    ended: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    total: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, Job] = field(default_factory=dict)
    """Jobs that were handed out and have not begun."""
    running: dict[str, tuple[Job, Beat]] = field(default_factory=dict)
    """Jobs that run, with what each said last."""
    retries: int = 0
    jobs: int = 0
    """Jobs that this launch has done."""
    weight_left: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    weight_done: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that ended jobs took, by kind."""
    began: float = field(default_factory=time.monotonic)

    def expect(self, needed: tuple[str, ...], done: int, failed: int) -> None:
        """Take in what is to be done, and which trials earlier launches ended."""
        self.total.update(self.plan.jobs[key].kind for key in needed)
        self.total["trial"] += done + failed
        self.ended["trial"] += done
        self.failed["trial"] += failed
        for key in needed:
            self.weight_left[self.plan.jobs[key].kind] += self.plan.jobs[key].weight

    @property
    def seconds(self) -> float:
        """Seconds since the launch began."""
        return time.monotonic() - self.began

    def seconds_left(self) -> float | None:
        """Estimate the time left; None before the first job has ended.

        Seconds for a unit of weight are those of the kind itself where a job of it has ended, else
        those of all kinds. As many jobs are taken to run at once as did so far.
        """
        busy, done = sum(self.busy.values()), sum(self.weight_done.values())
        if done == 0:
            return None
        left = 0.0
        for kind, weight in self.weight_left.items():
            own = self.weight_done[kind] > 0
            left += weight * (self.busy[kind] / self.weight_done[kind] if own else busy / done)
        return left * self.seconds / max(busy, 1e-9)


class Display:
    """Follows a launch; use it as a context manager around the run."""

    def __init__(self, plan: Plan, console: Console):
        self.tally = Tally(plan)
        self.console = console
        self._live: Live | None = None
        self._errors: Counter[str] = Counter()
        self._last_line = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._picture, console=self.console, refresh_per_second=4
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._line()

    def stopping(self) -> None:
        """Say that no further job starts."""
        running = len(self.tally.running)
        self.console.print(
            f"Stopping: no new job starts; {running} running jobs finish. "
            "Ctrl-C again stops at once. The same command goes on later, "
            "and a training resumes from its last epoch.",
            highlight=False,
        )

    def started(self, job: Job) -> None:
        """Note that a job was handed out."""
        self.tally.waiting[job.key] = job
        self._tell()

    def heard(self, job: Job, beat: Beat) -> None:
        """Note what a job that runs says of itself."""
        self.tally.waiting.pop(job.key, None)
        self.tally.running[job.key] = (job, beat)
        self._tell()

    def noted(self, message: str) -> None:
        """Show what a person should know."""
        self.console.print(Text(message, "yellow"))

    def ended(self, job: Job, result: AttemptResult, lost: Collection[str]) -> None:
        """Note that an attempt ended, and which jobs failed with it for good."""
        tally = self.tally
        tally.waiting.pop(job.key, None)
        tally.running.pop(job.key, None)
        if result.status == "elsewhere":
            return
        tally.busy[job.kind] += result.seconds
        tally.weight_left[job.kind] -= job.weight
        tally.weight_done[job.kind] += job.weight
        if result.status == "done":
            tally.ended[job.kind] += 1
            tally.jobs += 1
        elif not lost:
            tally.retries += 1
            tally.weight_left[job.kind] += job.weight
        else:
            for key in lost:
                tally.failed[tally.plan.jobs[key].kind] += 1
                if key != job.key:
                    tally.weight_left[tally.plan.jobs[key].kind] -= tally.plan.jobs[key].weight
            self._say_failed(job, result.error or "unknown")
        self._tell()

    def _say_failed(self, job: Job, error: str) -> None:
        """Print a failure, but only the first few with one error: the display counts them all."""
        self._errors[error] += 1
        if self._errors[error] > SAME_ERRORS:
            return
        more = "; further ones like it are only counted"
        note = more if self._errors[error] == SAME_ERRORS else ""
        self.console.print(
            Text(f"failed: {job.kind} {job.architecture} {job.key}: {error}{note}", "red")
        )

    def _tell(self) -> None:
        if self._live is None and time.monotonic() - self._last_line >= LINE_EVERY:
            self._line()

    def _line(self) -> None:
        self._last_line = time.monotonic()
        self.console.print(self._summary(), highlight=False, soft_wrap=True)

    def _summary(self) -> str:
        tally = self.tally
        trials = f"{tally.ended['trial']}/{tally.total['trial']} trials"
        parts = [f"{tally.seconds:5.0f} s", trials]
        parts += [
            f"{tally.ended[kind]}/{tally.total[kind]} {kind}"
            for kind in JOB_KINDS[:-1]
            if tally.total[kind]
        ]
        if tally.failed["trial"]:
            parts.append(f"{tally.failed['trial']} trials failed")
        if tally.retries:
            parts.append(f"{tally.retries} attempts repeated")
        left = tally.seconds_left()
        rate = tally.jobs / max(tally.seconds, 1e-9)
        parts.append(f"{rate:.1f} jobs/s")
        if left is not None and left > 0.5:
            parts.append(f"about {_clock(left)} left")
        return " · ".join(parts)

    def _picture(self) -> Group:
        tally = self.tally
        grid = Table.grid(padding=(0, 2))
        for kind in JOB_KINDS:
            if tally.total[kind]:
                done, total, failed = tally.ended[kind], tally.total[kind], tally.failed[kind]
                note = Text(f"{failed} failed", "red") if failed else Text("")
                bar = ProgressBar(total=total, completed=done + failed, width=40)
                grid.add_row(kind, bar, f"{done}/{total}", note)
        running = Counter(f"{job.architecture} {job.kind}" for job, _ in tally.running.values())
        now = ", ".join(f"{count} x {what}" for what, count in running.most_common(4))
        if tally.waiting:
            now = f"{now or 'nothing'}; starting: {len(tally.waiting)}"
        said = [Text(f"  {doing(*pair)}", "dim") for pair in self._slowest()]
        return Group(
            grid, Text(self._summary()), Text(f"running: {now or 'nothing'}", "dim"), *said
        )

    def _slowest(self) -> list[tuple[Job, Beat]]:
        """Return some of the jobs that train: those with the most time left."""
        training = [pair for pair in self.tally.running.values() if pair[1].seconds_left]
        return sorted(training, key=lambda pair: -(pair[1].seconds_left or 0))[:SHOWN]


def doing(job: Job, beat: Beat) -> str:
    """Return what a job that runs is at, in words: epoch, loss and time left."""
    parts = [f"{job.architecture} {job.kind} {beat.doing}".rstrip()]
    if beat.epoch is not None:
        parts.append(f"loss {beat.epoch['loss']:.3f}")
        parts.append(f"validation {100 * beat.epoch['validation_accuracy']:.1f} %")
    if beat.seconds_left:
        parts.append(f"about {_clock(beat.seconds_left)} left")
    return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
