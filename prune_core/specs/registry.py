"""Axes of methods: one module an axis, one decorated function a method.

What an axis holds is read from its module's *source*, so that a sweep file is checked and a plan
made without importing torch; the functions themselves are imported at their first use.
A method of the user's own is named ``package.module:function``, or is registered under an entry
point of the group ``mrsweep.<axis>``; its identity includes a digest of its module's source, so an
edited method is a new method.
"""

from __future__ import annotations

import ast
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from prune_core.errors import UnknownMethodError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Method:
    """What an axis says of one of its methods.

    ``needs`` names what the method reads (``"gradients"``, ``"threat"``, ...), a setting with the
    value that it has where a user gives none (``"beta=6.0"``), or that it has whatever a user gives
    (``"attack_steps==1"``); ``traits`` is what it promises;
    ``origin`` is the module and function that hold it; ``digest`` is set for methods from outside
    alone.
    """

    name: str
    origin: str
    summary: str = ""
    source: str = ""
    needs: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    digest: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings among its needs, with the values they have where a user gives none."""
        given = (need.partition("=") for need in self.needs if "=" in need)
        return {name: ast.literal_eval(value.removeprefix("=")) for name, _, value in given}

    @property
    def fixed(self) -> frozenset[str]:
        """The settings that are no user's to choose."""
        return frozenset(need.partition("==")[0] for need in self.needs if "==" in need)


PLACEHOLDERS = {
    "k": r"[1-9]\d{0,4}",
    "n": r"[1-9]\d?",
    "m": r"[1-9]\d?",
    "severity": r"[1-5]",
    "name": r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    "objective": r".+",
    "corruption": r"[a-z-]+",
    "attack": r"[^+]+",
    "then": r".+",
}
"""What may stand in a name for each placeholder: ``pgd-<k>`` answers to ``pgd-20``."""
INNER = {
    "objective": "objectives",
    "corruption": "corruptions",
    "attack": "attacks",
    "then": "attacks",
}
"""Placeholders that hold another method's name, with its axis: ``awp:<objective>`` wraps one."""


def _pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", name)
    return re.compile(
        "".join(f"({PLACEHOLDERS[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    )


def method(
    name: str, *, source: str = "", needs: tuple[str, ...] = (), traits: tuple[str, ...] = ()
) -> Callable[[F], F]:
    """Enter the decorated function into its module's axis under ``name``.

    A name may hold placeholders (see `PLACEHOLDERS`); what stands for them is handed to the
    function as further arguments, text or, where it is digits, a number. The arguments here must
    be literals: they are read from the source, not from the running module.
    """
    del name, source, needs, traits  # read by _methods_in, from the source

    def unchanged(function: F) -> F:
        return function

    return unchanged


@dataclass(frozen=True)
class Axis:
    """The methods of one module, by name."""

    noun: str
    module: str
    defaults: tuple[str, ...] = field(default=())
    """What a method from outside that declares nothing is taken to need."""

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Built-in methods and those registered through entry points, by name."""
        found = {entry.name: entry for entry in _methods_in(self.module)}
        for point in importlib.metadata.entry_points(group=f"mrsweep.{self.axis}"):
            if point.name in found:
                raise ValueError(f"{self.noun} {point.name!r} is registered twice")
            found[point.name] = self._outside(point.value, name=point.name)
        return found

    @property
    def axis(self) -> str:
        """The axis as users write it: the last part of the module's name."""
        return self.module.rpartition(".")[2]

    def __getitem__(self, name: str) -> Method:
        found = self._match(name)
        if found is not None:
            return _merged(*found)
        if ":" in name:
            return self._outside(name, name=name)
        raise UnknownMethodError(self._unknown(name))

    def load(self, name: str) -> Callable[..., Any]:
        """Import and return the function of the method called ``name``.

        What the name holds for placeholders is bound to the function's parameters called so.
        """
        module, _, function = self[name].origin.partition(":")
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
        arguments = self.arguments(name)
        return functools.partial(loaded, **arguments) if arguments else loaded

    def arguments(self, name: str) -> dict[str, str | int]:
        """Return what ``name`` holds for the placeholders of the method that answers to it."""
        found = self._match(name)
        return found[1] if found else {}

    @cached_property
    def _matched(self) -> dict[str, tuple[Method, dict[str, str | int]] | None]:
        """What was found for the names asked for so far; built-in methods do not change."""
        return {}

    def _match(self, name: str) -> tuple[Method, dict[str, str | int]] | None:
        """Return the built-in method that answers to ``name`` and what stands for placeholders."""
        if name not in self._matched:
            self._matched[name] = self._find(name)
        return self._matched[name]

    def _find(self, name: str) -> tuple[Method, dict[str, str | int]] | None:
        if "<" not in name and name in self.methods:
            return self.methods[name], {}
        for known, found in self.methods.items():
            if "<" in known and (match := _pattern(known).fullmatch(name)):
                holders = re.findall(r"<(\w+)>", known)
                values = zip(holders, match.groups(), strict=True)
                return found, {h: int(v) if v.isdigit() else v for h, v in values}
        return None

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.methods, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(sorted(self.methods))
        outside = "a method of your own is named package.module:function"
        return f"unknown {self.noun} {name!r}; {hint}known: {known}; {outside}"

    def _outside(self, origin: str, name: str) -> Method:
        module, _, function = origin.partition(":")
        source = _source(module)
        if source is None:
            raise UnknownMethodError(
                f"{self.noun} {name!r}: no module {module!r} can be imported from here; "
                "check its spelling and that its folder is on PYTHONPATH"
            )
        known = [node.name for node in _functions(source)]
        if function not in known:
            raise UnknownMethodError(
                f"{self.noun} {name!r}: module {module!r} has no function {function!r}; "
                f"it has: {', '.join(known) or 'none'}"
            )
        declared = {entry.origin: entry for entry in _declared(module, source)}.get(origin)
        node = next(node for node in _functions(source) if node.name == function)
        return Method(
            name=name,
            origin=origin,
            summary=_summary(node),
            source=declared.source if declared else "",
            needs=declared.needs if declared else self.defaults,
            traits=declared.traits if declared else (),
            digest=hashlib.sha256(source.encode()).hexdigest()[:12],
        )


def _merged(found: Method, arguments: dict[str, str | int]) -> Method:
    """Add to what a wrapper needs and promises what the methods in its name do."""
    for placeholder, axis in INNER.items():
        if placeholder in arguments:
            inner = AXES[axis][str(arguments[placeholder])]
            own = {need.partition("=")[0] for need in found.needs}
            more = tuple(need for need in inner.needs if need.partition("=")[0] not in own)
            found = replace(
                found,
                needs=found.needs + more,
                traits=tuple(dict.fromkeys(found.traits + inner.traits)),
                digest="+".join(filter(None, (found.digest, inner.digest))) or None,
            )
    return found


def _source(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8")


def _functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def _summary(node: ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _declared(module: str, source: str) -> list[Method]:
    """Return the methods that a module's source declares with ``@method(...)``."""
    return [
        Method(
            name=ast.literal_eval(call.args[0]),
            origin=f"{module}:{node.name}",
            summary=_summary(node),
            **{word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg},
        )
        for node in _functions(source)
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "method"
    ]


def _methods_in(module: str) -> list[Method]:
    source = _source(module)
    if source is None:
        raise ModuleNotFoundError(f"no module {module!r}")
    entries = _declared(module, source)
    names = [entry.name for entry in entries]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{module} declares twice: {', '.join(twice)}")
    return entries


ARCHITECTURES = Axis("architecture", "prune_core.models.architectures")
CRITERIA = Axis("criterion", "prune_core.pruning.criteria", defaults=("gradients",))
ALLOCATIONS = Axis("allocation", "prune_core.pruning.allocations")
GRANULARITIES = Axis("granularity", "prune_core.pruning.granularities")
SENSITIVITIES = Axis("sensitivity", "prune_core.pruning.sensitivities")
OBJECTIVES = Axis(
    "objective",
    "prune_core.training.objectives",
    defaults=("threat", "attack_steps=10", "attack_mode='eval'"),
)
SCHEDULES = Axis("schedule", "prune_core.training.schedules")
POLICIES = Axis("policy", "prune_core.training.policies")
ATTACKS = Axis("attack", "prune_core.attacks.attacks")
CORRUPTIONS = Axis("corruption", "prune_core.attacks.corruptions")
DATASETS = Axis("dataset", "prune_core.data.datasets")
AXES = {
    axis.axis: axis
    for axis in (
        ARCHITECTURES, CRITERIA, ALLOCATIONS, GRANULARITIES, SENSITIVITIES,
        OBJECTIVES, SCHEDULES, POLICIES, ATTACKS, CORRUPTIONS, DATASETS,
    )
}  # fmt: skip
