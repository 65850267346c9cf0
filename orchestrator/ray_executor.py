"""The executor on Ray Tune; the only file that imports ray.

Tune is a disposable executor here: a Searcher hands out the scheduler's jobs, and what a job did is
in the tables, never in Tune's own folders. `Tuner.restore` is never called: a relaunch is a set
difference. A job that dies with its worker is reported as failed, and tried again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import tempfile
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.jobs import perform
from orchestrator.launch import Launch, Outcome, ResourceError
from orchestrator.transport import decode_job, encode_job

log = logging.getLogger(__name__)


def execute(launch: Launch, workers: int | None, address: str | None) -> None:
    """Do every job of a launch on a Ray cluster: one made here, or the one at ``address``."""
    # Workers import methods from outside from where this process does.
    path = os.pathsep.join(
        dict.fromkeys([*filter(None, sys.path), os.environ.get("PYTHONPATH", "")])
    )
    cpus = launch.plan.sweep.resources.cpus
    jobs = workers or max(1, int((os.cpu_count() or 1) / cpus))
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=address or "local",
            num_cpus=None if address else math.ceil(jobs * cpus),
            include_dashboard=False if not address else None,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
        )
    try:
        _check_resources(launch)
        with tempfile.TemporaryDirectory(prefix="mrsweep-tune-") as scratch:
            _tune(launch, scratch)
    finally:
        if started:
            ray.shutdown()


def _check_resources(launch: Launch) -> None:
    """Settle the device, and refuse jobs that the cluster could never start."""
    found = ray.cluster_resources()  # type: ignore[no-untyped-call]  # ray leaves it untyped
    if launch.device == "auto":
        launch.device = "cuda" if found.get("GPU", 0) > 0 else "cpu"
    asked = launch.plan.sweep.resources
    wanted = {"CPU": asked.cpus} | ({"GPU": asked.gpus} if launch.device != "cpu" else {})
    if short := {k: v for k, v in wanted.items() if v > found.get(k, 0)}:
        raise ResourceError(
            f"a job takes {short}, the cluster has {found.get('CPU', 0):g} CPUs and "
            f"{found.get('GPU', 0):g} GPUs: change resources in the sweep file, or --device"
        )


def _tune(launch: Launch, scratch: str) -> None:
    on_gpu = launch.device.startswith("cuda")
    resources = launch.plan.sweep.resources
    bundle = {"CPU": resources.cpus} | ({"GPU": resources.gpus} if on_gpu else {})
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    jobs = _Jobs(launch)
    tuner = tune.Tuner(
        tune.with_resources(_trainable, tune.PlacementGroupFactory([bundle])),
        tune_config=tune.TuneConfig(
            search_alg=jobs,
            num_samples=-1,
            # On a GPU a fresh process gives back all of its memory; on a CPU starting one would
            # take longer than most jobs.
            reuse_actors=not on_gpu,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            storage_path=scratch, verbose=0, failure_config=tune.FailureConfig(max_failures=0)
        ),
    )
    tuner.fit()
    if jobs.failure is not None:
        raise jobs.failure


def _name(trial: Any) -> str:
    return f"{trial.config['kind']}-{trial.config['key']}-{trial.trial_id}"


def _trainable(config: dict[str, Any]) -> None:
    job = decode_job(config["job"])
    outcome = perform(
        job, config["root"], config["device"], tuple(config["keep"]), config["attempt"]
    )
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
        try:
            self._complete(trial_id, result, error)
        except Exception as failure:
            self._give_up(failure)

    def _suggest(self, trial_id: str) -> Any:
        if self._launch.finished or self.failure is not None:
            return Searcher.FINISHED
        job = self._launch.take()
        if job is None:
            return None
        self._running[trial_id] = job.key
        return {
            "key": job.key,
            "kind": job.kind,
            "job": encode_job(job),
            "root": self._launch.storage.root,
            "device": self._launch.device,
            "keep": list(self._launch.keep),
            "attempt": self._launch.scheduler.attempt(job.key),
        }

    def _complete(self, trial_id: str, result: dict[str, Any] | None, error: bool) -> None:
        key = self._running.pop(trial_id, None)
        if key is None:
            return
        if error or not result or "outcome" not in result:
            self._launch.lose(key, "its worker died (killed, out of memory, or its node was lost)")
        else:
            self._launch.report(Outcome(**json.loads(result["outcome"])))

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
