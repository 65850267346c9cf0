"""The executor on Ray Tune; the only file that imports ray.

Tune is a disposable executor here: a Searcher hands out the scheduler's jobs, and what a job did is
in the tables, never in Tune's own folders. `Tuner.restore` is never called: a relaunch is a set
difference. A job that dies with its worker is reported as failed, and tried again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.driver.launch import Launch, ResourceError
from orchestrator.planning.attempt import Order, Outcome, Share
from orchestrator.planning.transport import decode_job, encode_job
from orchestrator.worker.job import perform

DIED = "its worker died (killed, out of memory, or its node was lost)"
STARVED = "its worker was ended because its node was low on memory"
ACCELERATOR = "accelerator_type:"


def execute(launch: Launch, workers: int | None, address: str | None) -> None:
    """Do every job of a launch on a Ray cluster: one made here, or the one at ``address``."""
    cpus = float(launch.plan.sweep.resources.cpus or 1)
    jobs = workers or max(1, int((os.cpu_count() or 1) / cpus))
    started = not ray.is_initialized()
    with tempfile.TemporaryDirectory(prefix="mrsweep-tune-") as scratch:
        if started:
            _join(address, math.ceil(jobs * cpus), scratch)
        try:
            _check_resources(launch)
            _tune(launch, scratch)
        finally:
            if started:
                ray.shutdown()


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
    """Settle the device, and refuse jobs that the cluster could never start."""
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]  # ray leaves it untyped
    if launch.device == "auto":
        launch.device = "cuda" if found.get("GPU", 0) > 0 else "cpu"
    jobs = {launch.plan.jobs[key].kind: launch.plan.jobs[key] for key in launch.state.needed}
    faults = []
    for kind, job in jobs.items():
        wanted = _bundle(launch.shares.of(job))
        if short := {name: size for name, size in wanted.items() if size > found.get(name, 0)}:
            faults.append(f"a {kind} job takes {short}")
    if faults:
        has = {name: found.get(name, 0) for name in ("CPU", "GPU", "memory")}
        models = [name.partition(":")[2] for name in found if name.startswith(ACCELERATOR)]
        raise ResourceError(
            f"{'; '.join(faults)}; the cluster has {has['CPU']:g} CPUs, {has['GPU']:g} GPUs "
            f"({', '.join(models) or 'of no known model'}) and {has['memory'] / 2**30:.1f} GiB: "
            "change resources in the sweep file, or --device"
        )


def _bundle(share: Share) -> dict[str, float]:
    """Return a share as Ray counts resources."""
    wanted = {"CPU": share.cpus, "GPU": share.gpus, "memory": float(share.memory or 0)}
    if share.accelerator:
        wanted[f"{ACCELERATOR}{share.accelerator}"] = 0.001  # so pinned, not used up
    return {name: size for name, size in wanted.items() if size}


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return where a job may run: on what it takes, away from nodes that it hung on."""
    bundle = _bundle(Share(**config["share"]))
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
    order = Order(
        job=decode_job(config["job"]),
        root=config["root"],
        device=config["device"],
        keep=tuple(config["keep"]),
        attempt=config["attempt"],
        share=Share(**config["share"]),
        time_limit=config["time_limit"],
        driver=config["driver"],
        first=config["first"],
    )
    outcome = perform(order, ray.get_runtime_context().get_node_id())
    tune.report({"outcome": json.dumps(asdict(outcome))})


class _Jobs(Searcher):
    """Suggests the jobs that the scheduler has ready; takes back how they ended."""

    def __init__(self, launch: Launch):
        super().__init__(metric="outcome", mode="max")
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
        if not error and result and "outcome" in result:
            self._end(trial_id, lambda _: self._launch.report(_outcome(result)))
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
            "job": encode_job(order.job),
            "root": order.root,
            "device": order.device,
            "keep": list(order.keep),
            "attempt": order.attempt,
            "share": asdict(order.share),
            "time_limit": order.time_limit,
            "driver": order.driver,
            "first": order.first,
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
        """Take in that a trial ended; its outcome the Searcher is given."""
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


def _outcome(result: dict[str, Any]) -> Outcome:
    return Outcome(**json.loads(result["outcome"]))
