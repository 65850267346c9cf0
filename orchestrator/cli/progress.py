"""What a person sees while a sweep runs: a live display, or plain lines without a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.driver.tally import Tally
from orchestrator.planning.attempt import AttemptResult, Beat
from orchestrator.planning.plan import Job, Plan
from prune_core.specs.stages import JOB_KINDS
from results.statistics.design.words import several

SAME_ERRORS = 3
"""Failures with one error that are printed; further ones are counted."""
SHOWN = 4
"""Jobs in training that the display tells of."""
LINE_EVERY = 30.0
"""Seconds between two plain lines."""
COLUMNS = ("at", "loss", "validation", "robust", "left")
"""What the display says of a job that runs; accuracies are of its last epoch's validation."""
SHORT = ("at", "robust", "left")
"""The same where the terminal is narrow."""
ROOMY, WIDEST = 75, 100
"""Columns of a terminal that is not narrow, and that the display takes at most."""


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
        running = several(len(self.tally.running), "running job")
        self.console.print(
            f"Stopping: no new job starts, and {running} may finish. "
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
        """Return a line that says all, for files and pipes."""
        tally = self.tally
        parts = [f"{tally.seconds:5.0f} s", f"{tally.ended['trial']}/{tally.total['trial']} trials"]
        parts += [
            f"{tally.ended[kind]}/{tally.total[kind]} {kind}"
            for kind in JOB_KINDS[:-1]
            if tally.total[kind]
        ]
        if tally.failed["trial"]:
            parts.append(f"{several(tally.failed['trial'], 'trial')} failed")
        return " · ".join([*parts, *self._pace()])

    def _pace(self) -> list[str]:
        """Return how fast it goes, and how long yet."""
        tally, left = self.tally, self.tally.seconds_left()
        parts = [f"{several(tally.retries, 'attempt')} repeated"] if tally.retries else []
        parts += [tally.rate] if tally.rate else []
        return [*parts, f"about {_clock(left)} left"] if left is not None and left > 0.5 else parts

    def _picture(self) -> Group:
        tally, width = self.tally, min(self.console.width, WIDEST)
        bars = _grid(width)
        bars.add_column(ratio=1)
        bars.add_column(justify="right", no_wrap=True)
        bars.add_column(no_wrap=True)
        bar = ProgressBar(total=1, completed=tally.share)
        bars.add_row(Text("all", "bold"), bar, Text(f"{100 * tally.share:.0f} %", "bold"), "")
        for kind in JOB_KINDS:
            if tally.total[kind]:
                done, total, failed = tally.ended[kind], tally.total[kind], tally.failed[kind]
                note = Text(f"{failed} failed", "red") if failed else Text("")
                bar = ProgressBar(total=total, completed=done + failed)
                bars.add_row(kind, bar, f"{done}/{total}", note)
        said = Text(" · ".join([f"{_clock(tally.seconds)} gone", *self._pace()]),
                    no_wrap=True, overflow="ellipsis")  # fmt: skip
        return Group(bars, said, *self._running(width))

    def _running(self, width: int) -> Iterator[RenderableType]:
        """Yield how many jobs run, and a line for each as far as there is room."""
        tally = self.tally
        shown = sorted(tally.running.values(), key=lambda pair: -(pair[1].seconds_left or 0))
        head = f"running: {len(shown)}"
        head += f"; starting: {len(tally.waiting)}" if tally.waiting else ""
        head += f"; the {SHOWN} with most left:" if len(shown) > SHOWN else ""
        yield Text(head, "dim")
        rows = [_columns(job, beat, tally.plan.varied) for job, beat in shown[:SHOWN]]
        if not rows:
            return
        table = _grid(width, style="dim")
        table.columns[0].ratio = 1  # it alone gives way
        told = [
            name for name in (COLUMNS if width >= ROOMY else SHORT) if any(r[name] for r in rows)
        ]
        for _ in told:
            table.add_column(justify="right", no_wrap=True)
        if any(row["loss"] for row in rows):
            table.add_row("", *("" if name == "at" else name for name in told))
        for row in rows:
            table.add_row(f"  {row['job']}", *(row[name] for name in told))
        yield table


def _grid(width: int, style: str = "") -> Table:
    """Return a table without lines whose first column is cut where there is no room."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.width, table.style = width, style
    table.add_column(no_wrap=True, overflow="ellipsis")
    return table


def named(job: Job, varied: Collection[str]) -> str:
    """Return what a job is called: its kind, with the levels of a trial's cell, or its network."""
    levels = [str(level) for name, level in (job.labels or {}).items() if name in varied]
    return " ".join([job.kind, *(levels or [job.architecture])])


def _columns(job: Job, beat: Beat, varied: Collection[str]) -> dict[str, str]:
    """Return what a job that runs is at, by what it is called there; empty where it is unknown."""
    epoch = beat.epoch or {}
    robust = epoch.get("validation_robust")
    return {
        "job": named(job, varied),
        "at": beat.doing,
        "loss": f"{epoch['loss']:.3f}" if epoch else "",
        "validation": f"{100 * epoch['validation_accuracy']:.1f} %" if epoch else "",
        "robust": f"{100 * robust:.1f} %" if robust is not None else "",
        "left": _clock(beat.seconds_left) if beat.seconds_left else "",
    }


def doing(job: Job, beat: Beat, varied: Collection[str] = ()) -> str:
    """Return what a job that runs is at, in words: epoch, loss, accuracies and time left."""
    said = _columns(job, beat, varied)
    parts = [f"{said['job']} {said['at']}".rstrip()]
    parts += [f"{name} {said[name]}" for name in ("loss", "validation", "robust") if said[name]]
    return ", ".join([*parts, f"about {said['left']} left"] if said["left"] else parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
