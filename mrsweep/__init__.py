"""The front door: what users call, imported when it is first used.

>>> import mrsweep
>>> tables = mrsweep.load("runs", sweep="demo")      # doctest: +SKIP
>>> mrsweep.verdict(tables.trials, "finetuned_pgd_20").sentence      # doctest: +SKIP

It offers all that `results` does, and starts as it does: without torch, ray and pandas.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.planning.plan import make_plan as make_plan
    from orchestrator.sweepfile.model import read_sweep as read_sweep
    from orchestrator.worker.networks import load_network as load_network
    from prune_core import __version__ as __version__
    from prune_core.specs.registry import method as method
    from results import *  # noqa: F403 - whatever results offers, this offers

_MODULES = {
    "__version__": "prune_core",
    "load_network": "orchestrator.worker.networks",
    "make_plan": "orchestrator.planning.plan",
    "method": "prune_core.specs.registry",
    "read_sweep": "orchestrator.sweepfile.model",
}
"""Where the names lie that are not those of `results`."""
_PACKAGES = ("prune_core", "results", "orchestrator")


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*_MODULES, *_import("results").__all__]
    if name in _MODULES:
        return getattr(_import(_MODULES[name]), name)
    results = _import("results")
    if name in results.__all__:
        return getattr(results, name)
    raise AttributeError(f"module 'mrsweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__getattr__("__all__")])


def _import(module: str) -> ModuleType:
    """Import a module of ours, also where a file of the user's has the name of its package.

    Raises:
        ImportError: The user's file is imported already, so that its name is taken.
    """
    home = Path(__file__).resolve().parents[1]
    for package in _PACKAGES:
        if package not in sys.modules:
            _load(package, home)
        where = _where(sys.modules[package])
        if where.parent != home:
            raise ImportError(
                f"{where} is imported as {package!r}, which is also the name of a package of "
                f"mrsweep in {home}: rename the file or folder"
            )
    return import_module(module)


def _load(package: str, home: Path) -> None:
    """Load a package from the folder that holds this one, wherever it stands on the path."""
    spec = PathFinder.find_spec(package, [str(home)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{home} holds mrsweep without its package {package}: install it again")
    sys.modules[package] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package])


def _where(module: ModuleType) -> Path:
    """Return the folder of a package, or the file of a module that is none."""
    if hasattr(module, "__path__"):
        return Path(next(iter(module.__path__))).resolve()
    return Path(str(module.__file__)).resolve()
