"""Axes of methods: one module an axis, one decorated function a method.

What an axis holds is read from its module's *source*, so that a sweep file is checked and a plan
made without importing torch; the functions themselves are imported at their first use.
A method of the user's own is named ``package.module:function``, or is registered under an entry
point of the group ``mrsweep.<axis>``; its identity includes a digest of its module's source, so an
edited method is a new method.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from prune_core.errors import DeclarationError, UnknownMethodError
from prune_core.specs.names import INNER, arguments_in
from prune_core.specs.reading import Method, Source

F = TypeVar("F", bound=Callable[..., Any])


def method(
    name: str,
    *,
    source: str = "",
    needs: tuple[str, ...] = (),
    traits: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Callable[[F], F]:
    """Enter the decorated function into its module's axis under ``name``.

    The arguments here must be literals: they are read from the source, not from the running module.
    What they mean is said by `prune_core.specs.reading.Method`.

    Args:
        name: It may hold placeholders (see `prune_core.specs.names`); what stands for them is
            handed to the function as further arguments, text or, where it is digits, a number.
        source: The paper.
        needs: What the method reads.
        traits: What it promises.
        settings: The settings that it reads, with the values where a user gives none.
        fixed: The settings that it reads with a value of its own, whatever a user gives.
    """
    del name, source, needs, traits, settings, fixed  # read from the source

    def unchanged(function: F) -> F:
        return function

    return unchanged


@dataclass(frozen=True)
class Axis:
    """The methods of one module, by name."""

    noun: str
    module: str
    defaults: tuple[str, ...] = ()
    """What a method from outside that declares nothing is taken to need."""

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Built-in methods and those registered through entry points, by name.

        Raises:
            DeclarationError: Where one is declared in a way that cannot be read, or twice.
        """
        source = Source.of(self.module)
        if source is None:
            raise ModuleNotFoundError(f"no module {self.module!r}")
        methods = {entry.name: entry for entry in source.methods()}
        for point in importlib.metadata.entry_points(group=f"mrsweep.{self.axis}"):
            if point.name in methods:
                raise DeclarationError(f"{self.noun} {point.name!r} is registered twice")
            methods[point.name] = self._outside(point.value, name=point.name)
        return methods

    @property
    def axis(self) -> str:
        """The axis as users write it: the last part of the module's name."""
        return self.module.rpartition(".")[2]

    def __getitem__(self, name: str) -> Method:
        match = self._match(name)
        if match is not None:
            return _merged(*match)
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
        match = self._match(name)
        return match[1] if match else {}

    @cached_property
    def _matches(self) -> dict[str, tuple[Method, dict[str, str | int]] | None]:
        """What answers to the names asked for so far; built-in methods do not change."""
        return {}

    def _match(self, name: str) -> tuple[Method, dict[str, str | int]] | None:
        """Return the built-in method that answers to ``name`` and what stands for placeholders."""
        if name not in self._matches:
            answers = (
                (entry, arguments)
                for known, entry in self.methods.items()
                if (arguments := arguments_in(name, known)) is not None
            )
            # A name of its own comes before one that is put together.
            self._matches[name] = min(answers, key=lambda answer: len(answer[1]), default=None)
        return self._matches[name]

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.methods, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(sorted(self.methods))
        outside = "a method of your own is named package.module:function"
        return f"unknown {self.noun} {name!r}; {hint}known: {known}; {outside}"

    def _outside(self, origin: str, name: str) -> Method:
        module, _, function = origin.partition(":")
        source = Source.of(module)
        if source is None:
            raise UnknownMethodError(
                f"{self.noun} {name!r}: no module {module!r} can be imported from here; "
                "check its spelling and that its folder is on PYTHONPATH"
            )
        if function not in source.functions:
            raise UnknownMethodError(
                f"{self.noun} {name!r}: module {module!r} has no function {function!r}; "
                f"it has: {', '.join(source.functions) or 'none'}"
            )
        undeclared = Method(name, origin, source.summary(function), needs=self.defaults)
        declared = {entry.origin: entry for entry in source.methods()}
        return replace(declared.get(origin, undeclared), name=name, digest=source.digest)


def _merged(wrapper: Method, arguments: Mapping[str, str | int]) -> Method:
    """Add to what a wrapper needs and promises what the methods in its name do.

    A setting that both declare is the wrapper's.
    """
    merged = wrapper
    for placeholder, axis in INNER.items():
        if placeholder in arguments:
            inner = AXES[axis][str(arguments[placeholder])]
            own = {**merged.settings, **merged.fixed}
            merged = replace(
                merged,
                needs=_joined(merged.needs, inner.needs),
                traits=_joined(merged.traits, inner.traits),
                settings={**merged.settings, **_without(inner.settings, own)},
                fixed={**merged.fixed, **_without(inner.fixed, own)},
                digest="+".join(filter(None, (merged.digest, inner.digest))) or None,
            )
    return merged


def _joined(some: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(some + more))


def _without(settings: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


ARCHITECTURES = Axis("architecture", "prune_core.models.architectures")
CRITERIA = Axis("criterion", "prune_core.pruning.criteria", defaults=("gradients",))
ALLOCATIONS = Axis("allocation", "prune_core.pruning.allocations")
GRANULARITIES = Axis("granularity", "prune_core.pruning.granularities")
SENSITIVITIES = Axis("sensitivity", "prune_core.pruning.sensitivities")
OBJECTIVES = Axis("objective", "prune_core.training.objectives", defaults=("threat",))
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
