"""Axes of methods: an axis is a module, and each decorated function in it is a method.

The methods of an axis are read from the *source* of its module. Sweep files are therefore checked,
and plans made, without importing torch; a function is imported when it is first used. Users name
their own methods ``package.module:function``, or register them as entry points of the group
``mrsweep.<axis>``. Keys include a digest of their code, that of the local modules that it imports
too, so an edited method is a new one.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from prune_core.errors import DeclarationError, UnknownMethodError
from prune_core.guard import heard, watched
from prune_core.specs.closure import code_digest, local_modules, stamp
from prune_core.specs.definitions import definition
from prune_core.specs.reading import Method, Source
from prune_core.specs.signatures import INNER, arguments_in, placeholders, signature_fault

F = TypeVar("F", bound=Callable[..., Any])


def method(
    name: str,
    *,
    source: str = "",
    needs: tuple[str, ...] = (),
    traits: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    wrapped: Mapping[str, Any] | None = None,
    files: tuple[str, ...] = (),
    revision: int | None = None,
) -> Callable[[F], F]:
    """Declare a function as a method of its module's axis.

    All arguments must be literals, since they are read from the source and not at run time.

    Args:
        name: The name that users write. It may contain placeholders (see
            `prune_core.specs.signatures`); the function gets their values as keyword arguments.
        source: The paper.
        needs: What the method reads, such as ``"gradients"`` or ``"threat"``.
        traits: Properties that callers may rely on, such as ``"comparable"``.
        settings: The settings that it reads, with their default values.
        fixed: The settings that it reads with a value that users cannot change.
        wrapped: Defaults of the settings of a method that wraps it, in place of that method's own.
        files: Of a user's own method: files that it reads, beside its module; keys have their
            content, as they have the code.
        revision: From 2, raised whenever the method would give other numbers than before: it is
            part of the keys of the stages that use the method, and of no others. In the keys of a
            user's own method it stands in for the code, which may then be edited without a trace.

    Returns:
        A decorator that returns the function as it is.
    """
    # They are read from the source.
    del name, source, needs, traits, settings, fixed, wrapped, files, revision

    def unchanged(function: F) -> F:
        return function

    return unchanged


@dataclass(frozen=True)
class Axis:
    """The methods of one module, by name.

    Attributes:
        noun: What users call one of its methods.
        module: The dotted name of the module.
        defaults: The needs of a user's own method that declares nothing.
        always: Those of one that is declared and says nothing of needs.
        makes_objects: Whether its methods make objects, so that a class is one as it is; elsewhere
            an object of the class is, made without arguments.
    """

    noun: str
    module: str
    defaults: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    makes_objects: bool = False

    @cached_property
    def methods(self) -> dict[str, Method]:
        """The built-in methods and those of entry points, by name.

        Raises:
            DeclarationError: If a declaration cannot be read, or two methods have the same name.
        """
        source = Source.of(self.module)
        if source is None:
            raise ModuleNotFoundError(f"no module {self.module!r}")
        methods = {entry.name: entry for entry in source.methods()}
        for point in importlib.metadata.entry_points(group=f"mrsweep.{self.axis}"):
            if point.name in methods:
                raise DeclarationError(
                    f"{self.noun} {point.name!r} is registered twice; "
                    f"the entry point {point.value!r} needs another name"
                )
            methods[point.name] = self._outside(point.value, name=point.name)
        return methods

    @property
    def axis(self) -> str:
        """The name of the axis for users: the last part of the module's name."""
        return self.module.rpartition(".")[2]

    def __getitem__(self, name: str) -> Method:
        """Return the method that a name stands for, merged with the methods that it wraps.

        Raises:
            UnknownMethodError: If there is none.
            DeclarationError: If its declaration cannot be read.
        """
        match = self._match(name)
        if match is not None:
            return _merged(*match)
        if ":" in name:
            return self._outside(name, name=name)
        raise UnknownMethodError(self._unknown(name))

    def load(self, name: str) -> Callable[..., Any]:
        """Import the function of a method.

        Args:
            name: The name that users write, such as ``pgd-20``.

        Returns:
            The function, with the values of placeholders already bound.

        Raises:
            UnknownMethodError: If there is no such method.
        """
        method = self[name]
        module, _, function = method.origin.partition(":")
        with heard(self.axis, name, method.keyed):
            loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
            if isinstance(loaded, type) and not self.makes_objects:
                loaded = loaded()
        loaded = watched(loaded, self.axis, name, method.files, method.keyed)
        arguments = self.arguments(name)
        return functools.partial(loaded, **arguments) if arguments else loaded

    def outside(self, name: str) -> list[tuple[Axis, str]]:
        """Return the methods from outside that a name stands for, those that it wraps too."""
        arguments = self.arguments(name)
        within = [
            pair
            for word, axis in INNER.items()
            if word in arguments
            for pair in AXES[axis].outside(str(arguments[word]))
        ]
        ours = self[name].origin.startswith(f"{self.module}:")
        return within if ours else [(self, name), *within]

    def arguments(self, name: str) -> dict[str, str | int]:
        """Return the values of the placeholders in a name, such as ``{"k": 20}`` for ``pgd-20``."""
        match = self._match(name)
        return match[1] if match else {}

    @cached_property
    def _matches(self) -> dict[str, tuple[Method, dict[str, str | int]] | None]:
        return {}  # of all names so far; built-in methods do not change

    def _match(self, name: str) -> tuple[Method, dict[str, str | int]] | None:
        """Return the method that a name matches and the values of its placeholders."""
        if name not in self._matches:
            answers = (
                (entry, arguments)
                for known, entry in self.methods.items()
                if (arguments := arguments_in(name, known)) is not None
            )
            # The match that leaves least to its placeholders wins: a literal name leaves nothing.
            self._matches[name] = min(
                answers,
                key=lambda answer: sum(map(len, map(str, answer[1].values()))),
                default=None,
            )
        return self._matches[name]

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self.methods, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(sorted(self.methods))
        outside = "a method of your own is named package.module:function"
        return f"unknown {self.noun} {name!r}; {hint}known: {known}; {outside}"

    @cached_property
    def _outsiders(self) -> dict[str, tuple[Method, list[Path], tuple[tuple[int, int], ...]]]:
        """Methods from outside, with the files that were read and how they were then."""
        return {}

    def _outside(self, origin: str, name: str) -> Method:
        """Return a method from outside; its files are read again where one has changed."""
        if name in self._outsiders:
            found, files, then = self._outsiders[name]
            if stamp(files) == then:
                return found
        found, files = self._read_outside(origin, name)
        if (now := stamp(files)) is not None:
            self._outsiders[name] = (found, files, now)
        return found

    def _read_outside(self, origin: str, name: str) -> tuple[Method, list[Path]]:
        module, _, function = origin.partition(":")
        source = Source.of(module)
        if source is None:
            raise UnknownMethodError(
                f"{self.noun} {name!r}: no module {module!r} can be imported from here; "
                "check its spelling and that its folder is on PYTHONPATH"
            )
        source.methods()  # what it declares wrongly is refused, whatever is asked for
        try:
            defined = definition(source, function)
        except UnknownMethodError as error:
            raise UnknownMethodError(f"{self.noun} {name!r}: {error}") from error
        undeclared = Method(name, origin, defined.summary, needs=self.defaults)
        declared = {entry.origin: entry for entry in defined.source.methods(self.always)}
        found = declared.get(defined.origin, undeclared)
        if fault := signature_fault(self.axis, defined, found.needs, placeholders(name)):
            raise DeclarationError(f"{self.noun} {name!r}: {fault}")
        beside = [defined.source.file.parent / file for file in found.files]
        # A revision says nothing of what is filled in elsewhere.
        revision = None if defined.is_filled_in else found.digest
        code = revision or code_digest(module, beside)
        # An entry point may come to stand for another function.
        digest = code if name == origin else f"{origin}@{code}"
        files = [*local_modules(module).values(), *beside]
        keyed = None if revision else tuple(str(file.resolve()) for file in files)
        return replace(found, name=name, origin=origin, digest=digest, keyed=keyed), files


def _merged(wrapper: Method, arguments: Mapping[str, str | int]) -> Method:
    """Return a wrapper's method, with the needs, traits and settings of the methods that it wraps.

    Where both declare a setting, the wrapper's value counts, unless the other says what it is when
    ``wrapped``.
    """
    merged = wrapper
    for placeholder, axis in INNER.items():
        if placeholder in arguments:
            inner = AXES[axis][str(arguments[placeholder])]
            own = {**merged.settings, **merged.fixed}
            merged = replace(
                merged,
                needs=tuple(dict.fromkeys(merged.needs + inner.needs)),
                traits=tuple(dict.fromkeys(merged.traits + inner.traits)),
                settings={
                    **merged.settings,
                    **_without(inner.settings, own),
                    **{k: v for k, v in inner.wrapped.items() if k in merged.settings},
                },
                fixed={**merged.fixed, **_without(inner.fixed, own)},
                wrapped={**inner.wrapped, **merged.wrapped},
                digest="+".join(filter(None, (merged.digest, inner.digest))) or None,
            )
    return merged


def _without(settings: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in names}


ARCHITECTURES = Axis("architecture", "prune_core.models.architectures", makes_objects=True)
CRITERIA = Axis("criterion", "prune_core.pruning.scores.criteria", defaults=("gradients",))
ALLOCATIONS = Axis("allocation", "prune_core.pruning.ratios.allocations")
GRANULARITIES = Axis("granularity", "prune_core.pruning.prunable.granularities")
SENSITIVITIES = Axis("sensitivity", "prune_core.pruning.ratios.sensitivities")
OBJECTIVES = Axis("objective", "prune_core.training.objectives", defaults=("threat",))
SCHEDULES = Axis("schedule", "prune_core.training.schedules")
POLICIES = Axis("policy", "prune_core.training.policies")
ATTACKS = Axis("attack", "prune_core.attacks.attacks", ("threat",), always=("threat",))
CORRUPTIONS = Axis("corruption", "prune_core.attacks.corruptions")
DATASETS = Axis("dataset", "prune_core.data.datasets")
AXES = {
    axis.axis: axis
    for axis in (
        ARCHITECTURES, CRITERIA, ALLOCATIONS, GRANULARITIES, SENSITIVITIES,
        OBJECTIVES, SCHEDULES, POLICIES, ATTACKS, CORRUPTIONS, DATASETS,
    )
}  # fmt: skip


def digests(**names: str) -> dict[str, str]:
    """Return the digests of those methods that have one; ``criteria="l1"``, and so on."""
    found = {axis: AXES[axis][name].digest for axis, name in names.items()}
    return {axis: digest for axis, digest in found.items() if digest is not None}
