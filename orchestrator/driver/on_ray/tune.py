"""Jobs as trials of Ray Tune.

Tune is a disposable executor here: a Searcher hands out the scheduler's jobs, and what a job did is
in the tables, never in Tune's own folders. `Tuner.restore` is never called: a relaunch is a set
difference. A job that dies with its worker is reported as failed, and tried again.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.driver.launch import Launch
from orchestrator.driver.on_ray import nodes
from orchestrator.driver.on_ray.handshake import code_reader, trainable_for
from orchestrator.driver.on_ray.pulse import Listener, end_process
from orchestrator.driver.on_ray.supply import Supply
from orchestrator.driver.on_ray.watch import Watch
from orchestrator.driver.places import bundle
from orchestrator.planning.attempt import Allotment, AttemptResult, Cause, Order, encode_order

DIED = "its worker died (killed, or out of memory)"
GONE = "its node was lost"
STARVED = "its worker was ended because its node was low on memory"
WAITING = 8
"""Jobs handed out before there is room, where Tune gives a process that is free the next one."""
LISTEN = 0.5
"""Seconds between two looks at what jobs say."""


def tune_jobs(jobs: Jobs, scratch: str) -> None:
    """Have Tune run all jobs that are handed out; what goes wrong is `Jobs.failure`."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by the launch
    try:
        tuner = tune.Tuner(
            tune.with_resources(jobs.trainable(), placement),
            tune_config=tune.TuneConfig(
                search_alg=jobs,
                scheduler=_Endings(jobs),
                num_samples=-1,
                reuse_actors=True,  # what a job took, a child of the worker's gives back
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
    except Exception as error:  # of this thread; the main one raises it
        jobs.failure = jobs.failure or error


def placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    """Return where a job may run: on what it takes, off the nodes that it is kept off."""
    wanted = bundle(Allotment(**config["allotment"]))
    if not config["off"]:
        return tune.PlacementGroupFactory([wanted])
    # Not in a list would be one condition; Ray's selectors have it so.
    elsewhere = {"ray.io/node-id": f"!in({','.join(config['off'])})"}
    return tune.PlacementGroupFactory([wanted], bundle_label_selector=[elsewhere])


def _name(trial: Any) -> str:
    return f"{trial.config['kind']}-{trial.config['key']}-{trial.trial_id}"


class Jobs(Searcher):
    """Suggests the jobs that there is room for; takes back how they ended."""

    def __init__(self, launch: Launch, supply: Supply, listener: Listener):
        super().__init__(metric="attempt", mode="max")
        self.launch, self._supply, self._listener = launch, supply, listener
        self._watch = Watch()
        self._orders: dict[str, Order] = {}  # by Tune's id of the trial
        self._ended: dict[str, str] = {}  # jobs that were ended from outside, and why
        self._listened, self._abandoned = 0.0, False
        self.failure: Exception | None = None

    def trainable(self) -> Callable[[dict[str, Any]], None]:
        """Return what Tune has workers do."""
        return trainable_for(code_reader()(), self._listener.pulse, self.launch.leases.driver)

    @property
    def over(self) -> bool:
        """Whether no further job is handed out."""
        return self.launch.finished or self.launch.stopping or self.failure is not None

    def abandon(self) -> None:
        """End Tune at its next step, whatever runs."""
        self._abandoned = True

    def suggest(self, trial_id: str) -> Any:
        """Return the most urgent job that there is room for."""
        if self.over:
            return Searcher.FINISHED
        try:
            self._attend()  # while nothing runs, Tune only asks, and takes no step
            order = self.launch.take(self._supply.fits)
            if order is None and len(self._waiting()) < WAITING:
                order = self.launch.take(lambda allotment, _: self._supply.could(allotment))
        except Exception as error:
            return self._give_up(error)
        if order is None:
            return None
        off = self._supply.hand_out(order)
        self._orders[trial_id] = order
        return {
            "key": order.job.key,
            "kind": order.job.kind,
            "order": encode_order(order),
            "process": order.process,
            "allotment": asdict(order.allotment),
            "off": list(off),
        }

    def step(self, controller: Any) -> None:
        """Listen and look, once in a while; take back what waits and cannot start any more.

        Raises:
            InterruptedError: The run is abandoned.
        """
        if self._abandoned:
            raise InterruptedError("stopped at once")
        try:
            self._attend()
        except Exception as error:
            self._give_up(error)
        if stranded := self._stranded():
            for trial in list(controller.get_live_trials()):
                if trial.trial_id in stranded and trial.status == "PENDING":
                    self._take_back(trial.trial_id)
                    with contextlib.redirect_stdout(io.StringIO()):  # Tune prints that it ended
                        controller.stop_trial(trial)

    def _attend(self) -> None:
        """Listen to what runs and look at the nodes, once in a while."""
        self._listen()
        self._supply.look()

    def _waiting(self) -> dict[str, Order]:
        """Return the orders that have not begun, by Tune's id of the trial."""
        running = self._watch.jobs
        return {t: order for t, order in self._orders.items() if order.job.key not in running}

    def _stranded(self) -> set[str]:
        """Return the trials that have not begun and now cannot, should not, or need not."""
        stranded = self._supply.strands
        return {t for t, order in self._waiting().items() if self.over or stranded(order)}

    def _take_back(self, trial_id: str) -> None:
        order = self._orders.pop(trial_id)
        self._supply.leave(order.job.key)
        self.launch.withdraw(order)

    def _listen(self) -> None:
        if time.monotonic() - self._listened < LISTEN:
            return
        self._listened = time.monotonic()
        beats = self._listener.heard()
        if beats is None:
            self._watch.deaf()
            return
        limits = {order.job.key: order.time_limit for order in self._orders.values()}
        for beat in beats:
            if beat.key in limits:
                self._watch.hear(beat, limits[beat.key])
                self._supply.places.settle(beat.key, beat.node or "")
                self.launch.hear(beat)
        for key, why in self._watch.hanging().items():
            self._ended[key] = why
            end_process(self._watch.jobs[key].beat)
        for key in self._watch.undead():  # as the kernel has it; its node is avoided
            trial_id = next((t for t, o in self._orders.items() if o.job.key == key), "")
            self._end(trial_id, lambda key: self.launch.lose(key, self._ended[key], "time"))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take in a job that said how it ended; of others `_Endings` hears why."""
        if not error and result and "attempt" in result:
            said = json.loads(result["attempt"])
            if said is None:
                self.died(trial_id, None)
            else:
                self._end(trial_id, lambda _: self.launch.report(AttemptResult(**said)))
        elif not error:
            self.died(trial_id, None)

    def died(self, trial_id: str, error: Exception | None) -> None:
        """Take in that a job's worker died."""
        order = self._orders.get(trial_id)
        if order is not None:
            why, cause = self._why(order.job.key, error)
            self._end(trial_id, lambda key: self.launch.lose(key, why, cause))

    def _why(self, key: str, error: Exception | None) -> tuple[str, Cause]:
        text = str(error or "")
        if key in self._ended:
            return self._ended[key], "time"
        if isinstance(error, ray.exceptions.OutOfMemoryError) or "low on memory" in text:
            return STARVED, "memory"
        watched = self._watch.jobs.get(key)
        lost = watched is not None and watched.beat.node not in nodes.present()
        if lost or "node has died" in text or getattr(error, "preempted", False):
            return GONE, "preempted"
        return DIED, "lost"

    def _end(self, trial_id: str, take_in: Callable[[str], None]) -> None:
        if (order := self._orders.pop(trial_id, None)) is None:
            return
        key = order.job.key
        self._supply.leave(key)
        self._watch.leave(key)
        try:
            take_in(key)
        except Exception as failure:
            self._give_up(failure)
        self._ended.pop(key, None)

    def _give_up(self, error: Exception) -> str:
        """End the run in good order: inside Tune an exception would tear down running jobs."""
        self.failure = self.failure or error
        return str(Searcher.FINISHED)

    def __deepcopy__(self, memo: dict[int, Any]) -> Jobs:
        """Stay one: Tune copies its settings, and the launch behind this one must not fork."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its settings; there is nothing here for it to restore."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the tables are the truth."""

    restore = save


class _Endings(FIFOScheduler):
    """Hears from Tune why a worker died, which a Searcher is not told; lets go of what has ended.

    A callback would hear it too, but for one Tune imports every tracker that is installed.
    """

    def __init__(self, jobs: Jobs):
        super().__init__()  # type: ignore[no-untyped-call]  # ray leaves it untyped
        self._jobs = jobs
        self._ended: Any = None

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Take the step beside Tune's own; which trial starts is Tune's to say."""
        self._jobs.step(tune_controller)
        return super().choose_trial_to_run(tune_controller)

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
