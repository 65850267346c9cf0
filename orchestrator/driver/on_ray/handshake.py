"""The handshake: a worker whose code is another than the driver's refuses before it begins.

What is asked of a worker goes there by value, for a module that is only named would be the other
one: the functions here that run there are made within functions, and import what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LIBRARIES = ("torch", "torchvision", "timm", "torch-pruning")
"""What computes besides: versions must be equal, builds (of a CPU, of a GPU) need not."""
Code = Mapping[str, str]


def code_reader() -> Callable[[], dict[str, str]]:
    """Return a function that tells what the code of the process is in which it runs."""
    libraries = LIBRARIES

    def read() -> dict[str, str]:
        import hashlib
        from importlib.metadata import version
        from importlib.util import find_spec
        from pathlib import Path

        digest = hashlib.sha256()
        for package in ("orchestrator", "prune_core", "results"):
            spec = find_spec(package)
            for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
                for file in sorted(folder.rglob("*.py")):
                    name = f"{package}/{file.relative_to(folder).as_posix()}"
                    digest.update(f"{name}\n".encode() + file.read_bytes())
        code = {"mrsweep": digest.hexdigest()[:12]}
        for library in libraries:
            code[library] = version(library).partition("+")[0]
        return code

    return read


def trainable_for(code: Code, pulse: Any, name: str) -> Callable[[dict[str, Any]], None]:
    """Return what Tune has a worker do: a job, where the worker's code is the driver's.

    Args:
        code: The driver's.
        pulse: Where heartbeats go.
        name: Of the processes on each node that jobs are forked from.
    """
    read, checked, held = code_reader(), dict[str, str](), dict[str, Any]()

    def trainable(config: dict[str, Any]) -> None:
        import json

        import ray
        from ray import tune

        node = ray.get_runtime_context().get_node_id()
        forks = held.get("forks")
        forked = config["process"] != "worker"
        if not checked or (forked and not (forks and forks.connected)):  # it imports anew
            checked.clear()
            checked.update(read())
        if other := {name: has for name, has in checked.items() if code.get(name) != has}:
            words = ", ".join(f"{name} {has} (the driver: {code.get(name)})"
                              for name, has in other.items())  # fmt: skip
            error = f"its code is not the driver's: {words}"
            result = {"key": config["key"], "status": "failed", "error": error, "cause": "skew"}
            tune.report({"attempt": json.dumps({**result, "node": node})})
            return
        do = in_child if forked else in_worker
        tune.report({"attempt": json.dumps(do(config, node))})

    def in_worker(config: dict[str, Any], node: str) -> Any:
        import threading
        from dataclasses import asdict

        from orchestrator.driver.on_ray.pulse import noticed
        from orchestrator.planning.attempt import decode_order
        from orchestrator.worker.job import perform
        from orchestrator.worker.telling import repeated

        leaving = threading.Event()
        with (
            noticed(node, leaving.set),
            repeated(lambda beat: pulse.tell.remote(asdict(beat))) as tell,
        ):
            return asdict(perform(decode_order(config["order"]), node, tell, leaving))

    def in_child(config: dict[str, Any], node: str) -> Any:
        from orchestrator.driver.on_ray.pulse import noticed
        from orchestrator.worker.forked.owner import Forks

        forks = held.setdefault("forks", Forks(name))
        stays = config["process"] == "resident"
        try:
            with noticed(node, forks.leave):
                return forks.perform(config["order"], node, pulse.tell.remote, stays)
        except OSError as error:  # of this node: another one may be able to
            failed = {"status": "failed", "error": str(error), "cause": "system"}
            return {"key": config["key"], **failed, "node": node}

    return trainable
