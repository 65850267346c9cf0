"""``mrsweep plan --probe``: batches are timed, and plans know them from then on."""

from __future__ import annotations

from rich.console import Console

from orchestrator.errors import RequestError
from orchestrator.planning.plan import Plan
from orchestrator.state.survey import State
from prune_core.errors import DatasetError
from results.tables.storage import Storage
from results.tables.store import Tables


def time_batches(plan: Plan, storage: Storage, state: State, device: str, console: Console) -> None:
    """Time a batch of each kind of work that is left; write what they took into ``jobs``.

    Raises:
        RequestError: Images are not known here.
    """
    from orchestrator.driver.timing import timed
    from orchestrator.worker.device import resolve_device  # these import torch

    tables = Tables(storage)
    try:
        with console.status("timing a batch of each kind of work"):
            tables.write("jobs", list(timed(plan, state.needed, resolve_device(device))))
    except DatasetError as error:
        raise RequestError(f"dataset: {error}") from error
    tables.commit()
