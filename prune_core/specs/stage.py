"""A stage: a step that yields an artifact, its identity; what others must know of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from pydantic import Field

from prune_core.specs.fields import Spec
from prune_core.specs.keys import canonical, stage_key

NETWORK = "network.safetensors"
SCORES = "scores.safetensors"
FACTS = "facts.json"


class Stage(Spec):
    """A step that yields an artifact. Fields that are stages are its parents."""

    kind: ClassVar[str]
    """Its name in keys, in storage and in sweep files."""
    version: ClassVar[int] = 1
    """Raised whenever the same spec would yield other numbers than before."""
    result: ClassVar[str | None] = None
    """The file whose presence in storage says that the stage is done; None where a table does."""
    is_job: ClassVar[bool] = True
    """Whether it is a unit of work of its own, not a part of another stage's."""
    keepable: ClassVar[bool] = False
    """Whether a sweep file says, under ``keep``, that its artifact stays in storage."""
    network_word: ClassVar[str | None] = None
    """What tables call its network; None where it has none of its own that is measured."""

    outside: dict[str, str] = Field(
        {}, description="by axis: digests of methods from outside, revisions of built-in ones"
    )

    def model_post_init(self, _: Any) -> None:
        """Share what stages have alike: of 100,000 trials, these are two thirds of the memory."""
        same = _shared_fields(frozenset(self.__pydantic_fields_set__))
        object.__setattr__(self, "__pydantic_fields_set__", same)
        object.__setattr__(self, "outside", _shared_texts(tuple(self.outside.items())))

    @property
    def passes(self) -> float:
        """How often it goes through all training images: forward passes, as of three a step."""
        return 0.1

    @property
    def parents(self) -> dict[str, Stage]:
        """The stages that this one starts from, by field."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in fields if isinstance(value, Stage)}

    @cached_property
    def key(self) -> str:
        """The stage's identity; see `prune_core.specs.keys`."""
        parents, spec = {}, {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in self.later and value == type(self).model_fields[name].default:
                continue
            if isinstance(value, Stage):
                parents[name] = value.key
            else:
                spec[name] = _canonical(value)
        return stage_key(self.kind, self.version, spec, parents)


def lineage(stage: Stage) -> dict[str, Any]:
    """Return a stage and all before it as plain values by their keys; parents are keys."""
    told: dict[str, Any] = {"kind": stage.kind, "version": stage.version}
    before: dict[str, Any] = {}
    for name in type(stage).model_fields:
        value = getattr(stage, name)
        if isinstance(value, Stage):
            before |= lineage(value)
            told[name] = value.key
        else:
            told[name] = _plain(value) if isinstance(value, Spec) else value
    return {**before, stage.key: told}


@lru_cache(maxsize=4096)
def _shared_fields(names: frozenset[str]) -> set[str]:
    return set(names)


@lru_cache(maxsize=4096)
def _shared_texts(items: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return dict(items)


def _canonical(value: Any) -> str:
    """Return a field's value as canonical JSON; stages share most of them, so they are kept."""
    if isinstance(value, Spec):
        return _canonical_spec(value)
    if isinstance(value, dict):
        return (
            _canonical_texts(tuple(value.items())) if _texts(value.values()) else canonical(value)
        )
    if isinstance(value, tuple):
        return _canonical_names(value) if _texts(value) else canonical(value)
    return _canonical_scalar(value)


def _texts(values: Iterable[object]) -> bool:
    return set(map(type, values)) <= {str}


@lru_cache(maxsize=4096, typed=True)  # typed: True is no 1
def _canonical_scalar(value: float | str | None) -> str:
    return canonical(value)


@lru_cache(maxsize=4096)
def _canonical_names(value: tuple[str, ...]) -> str:
    return canonical(value)


@lru_cache(maxsize=4096)
def _canonical_texts(items: tuple[tuple[str, str], ...]) -> str:
    return canonical(dict(items))


@lru_cache(maxsize=4096)
def _canonical_spec(spec: Spec) -> str:
    """Return a spec as canonical JSON; the stages of a sweep share a few of them."""
    return canonical(_plain(spec))


def _plain(spec: Spec) -> dict[str, Any]:
    fields = type(spec).model_fields
    unsaid = {name for name in spec.later if getattr(spec, name) == fields[name].default}
    told = spec.model_dump(mode="json", exclude={*spec.unkeyed, *unsaid})
    inner = {name: getattr(spec, name) for name in told}
    return told | {name: _plain(each) for name, each in inner.items() if isinstance(each, Spec)}
