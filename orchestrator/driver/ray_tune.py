"""The executor on Ray Tune; the only file that imports ray.

Tune is a disposable executor here: a Searcher hands out the scheduler's jobs, and what a job did is
in the tables, never in Tune's own folders. `Tuner.restore` is never called: a relaunch is a set
difference. A job that dies with its worker is reported as failed, and tried again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.planning.attempt import Allotment, AttemptResult, decode_order, encode_order
from orchestrator.worker.job import perform

DIED = "its worker died (killed, out of memory, or its node was lost)"
STARVED = "its worker was ended because its node was low on memory"
ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class Cluster:
    """An executor; see `orchestrator.driver.executors`."""

    device: str
    scratch: str
    """A folder for what Tune writes; nobody reads it."""

    def execute(self, launch: Launch) -> None:
        """Do every job of a launch on the cluster.

        Raises:
            ResourceError: There are jobs that it could never start.
        """
        _check_resources(launch)
        _tune(launch, self.scratch)


@contextlib.contextmanager
def joined(device: str, cpus: int, address: str | None) -> Iterator[Cluster]:
    """Join the Ray cluster at ``address``, or make one here with so many ``cpus``.

    Raises:
        ResourceError: No cluster answers.
    """
    started = not ray.is_initialized()
    with tempfile.TemporaryDirectory(prefix="mrsweep-tune-") as scratch:
        if started:
            _join(address, cpus, scratch)
        try:
            yield Cluster(_resolved(device), scratch)
        finally:
            if started:
                ray.shutdown()


def _resolved(device: str) -> str:
    """Return what ``auto`` is on the cluster."""
    if device != "auto":
        return device
    return "cuda" if _resources().get("GPU", 0) > 0 else "cpu"


def _resources() -> dict[str, float]:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # untyped
    return resources


def _join(address: str | None, cpus: int, scratch: str) -> None:
    """Make a Ray cluster here, or join the one at ``address``.

    Workers import what this process can import, in the same order. Ray puts the working folder in
    front of all that, where a file of the user's would hide a package: it is shown an empty one.
    """
    path = os.pathsep.join(dict.fromkeys([*filter(None, sys.path), str(Path.cwd())]))
    try:
        with contextlib.chdir(scratch):
            ray.init(
                address=address or "local",
                num_cpus=None if address else cpus,
                include_dashboard=False if not address else None,
                logging_level=logging.ERROR,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
            )
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise ResourceError(
            f"no Ray cluster answers at {address!r} ({error}): check the address, that "
            "`ray status` works there, and that this machine has the cluster's token"
        ) from error


def _check_resources(launch: Launch) -> None:
    """Refuse jobs that the cluster could never start."""
    has = _resources()
    jobs = {launch.plan.jobs[key].kind: launch.plan.jobs[key] for key in launch.state.needed}
    faults = []
    for kind, job in jobs.items():
        wanted = _bundle(launch.allotments.of(job))
        if short := {name: size for name, size in wanted.items() if size > has.get(name, 0)}:
            faults.append(f"a {kind} job takes {short}")
    if faults:
        cpus, gpus, memory = (has.get(name, 0) for name in ("CPU", "GPU", "memory"))
        models = [name.partition(":")[2] for name in has if name.startswith(ACCELERATOR)]
        raise ResourceError(
            f"{'; '.join(faults)}; the cluster has {cpus:g} CPUs, {gpus:g} GPUs "
            f"({', '.join(models) or 'of no known model'}) and {memory / 2**30:.1f} GiB: "
            "change resources in the sweep file, or --device"
        )


def _bundle(allotment: Allotment) -> dict[str, float]:
    """Return an allotment as Ray counts resources."""
    wanted = {
        "CPU": allotment.cpus, "GPU": allotment.gpus, "memory": float(allotment.memory or 0),
    }  # fmt: skip
    if allotment.accelerator:
        wanted[f"{ACCELERATOR}{allotment.accelerator}"] = 0.001  # so pinned, not used up
    return {name: size for name, size in wanted.items() if size}


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return where a job may run: on what it takes, away from nodes that it hung on."""
    bundle = _bundle(Allotment(**config["allotment"]))
    if not config["avoid"]:
        return tune.PlacementGroupFactory([bundle])
    # Not in a list would be one condition; Ray's selectors have it so.
    elsewhere = {"ray.io/node-id": f"!in({','.join(config['avoid'])})"}
    return tune.PlacementGroupFactory([bundle], bundle_label_selector=[elsewhere])


def _tune(launch: Launch, scratch: str) -> None:
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    jobs = _Jobs(launch)
    tuner = tune.Tuner(
        tune.with_resources(_trainable, _placement),
        tune_config=tune.TuneConfig(
            search_alg=jobs,
            scheduler=_Endings(jobs),
            num_samples=-1,
            # On a GPU a fresh process gives back all of its memory; on a CPU starting one would
            # take longer than most jobs.
            reuse_actors=not launch.device.startswith("cuda"),
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            storage_path=scratch,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
    if jobs.failure is not None:
        raise jobs.failure


def _name(trial: Any) -> str:
    return f"{trial.config['kind']}-{trial.config['key']}-{trial.trial_id}"


def _trainable(config: dict[str, Any]) -> None:
    order = decode_order(config["order"])
    result = perform(order, ray.get_runtime_context().get_node_id())
    tune.report({"attempt": json.dumps(asdict(result))})


class _Jobs(Searcher):
    """Suggests the jobs that the scheduler has ready; takes back how they ended."""

    def __init__(self, launch: Launch):
        super().__init__(metric="attempt", mode="max")
        self._launch = launch
        self._running: dict[str, str] = {}
        self.failure: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        try:
            return self._suggest(trial_id)
        except Exception as error:
            return self._give_up(error)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in a job that said how it ended; of others `_Endings` hears why."""
        if not error and result and "attempt" in result:
            ended = AttemptResult(**json.loads(result["attempt"]))
            self._end(trial_id, lambda _: self._launch.report(ended))
        elif not error:
            self.died(trial_id, None)

    def died(self, trial_id: str, error: Exception | None) -> None:
        """Take in that a job's worker died."""
        text = str(error or "")
        starved = isinstance(error, ray.exceptions.OutOfMemoryError) or "low on memory" in text
        if starved:
            self._end(trial_id, lambda key: self._launch.lose(key, STARVED, "memory"))
        else:
            self._end(trial_id, lambda key: self._launch.lose(key, DIED))

    def _end(self, trial_id: str, take_in: Callable[[str], None]) -> None:
        key = self._running.pop(trial_id, None)
        if key is None:
            return
        try:
            take_in(key)
        except Exception as failure:
            self._give_up(failure)

    def _suggest(self, trial_id: str) -> Any:
        launch = self._launch
        if launch.finished or launch.stopping or self.failure is not None:
            return Searcher.FINISHED
        order = launch.take()
        if order is None:
            return None
        self._running[trial_id] = order.job.key
        return {
            "key": order.job.key,
            "kind": order.job.kind,
            "order": encode_order(order),
            "allotment": asdict(order.allotment),
            "avoid": self._nodes_to_avoid(order.avoid),
        }

    def _nodes_to_avoid(self, avoid: tuple[str, ...]) -> list[str]:
        """Leave out nodes to avoid where no others are left."""
        nodes = ray.nodes()  # type: ignore[no-untyped-call]  # ray leaves it untyped
        alive = {node["NodeID"] for node in nodes if node["Alive"]} if avoid else set()
        return sorted(alive & set(avoid)) if alive - set(avoid) else []

    def _give_up(self, error: Exception) -> str:
        """End the run in good order: inside Tune an exception would tear down running jobs."""
        self.failure = error
        return str(Searcher.FINISHED)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Jobs:
        """Stay one: Tune copies its settings, and the launch behind this one must not fork."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its settings; there is nothing here for it to restore."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the tables are the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: see `save`."""


class _Endings(FIFOScheduler):
    """Hears from Tune why a worker died, which a Searcher is not told; lets go of what has ended.

    A callback would hear it too, but for one Tune imports every tracker that is installed.
    """

    def __init__(self, jobs: _Jobs):
        super().__init__()  # type: ignore[no-untyped-call]  # ray leaves it untyped
        self._jobs = jobs
        self._ended: Any = None

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Take in a death, before the Searcher is told that there was one."""
        del tune_controller  # Tune's signature
        self._jobs.died(trial.trial_id, trial.get_pickled_error())
        self._let_go(trial)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Take in that a trial ended; the Searcher is given its result."""
        del tune_controller, result  # Tune's signature
        self._let_go(trial)

    def _let_go(self, trial: Any) -> None:
        """Drop what ended trials weigh: Tune keeps every one, and a sweep has 100,000.

        Tune still has to do with the one that ends now; the one before it is done with.
        """
        done, self._ended = self._ended, trial
        if done is not None:
            done.config.clear()
            done.evaluated_params, done.experiment_tag = {}, ""
            known = done.run_metadata
            known.last_result, known.metric_analysis, known.metric_n_steps = {"done": True}, {}, {}
