"""Fields of specs: numbers as people write them, names of methods, shares."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from prune_core.registry import (
    ALLOCATIONS,
    ARCHITECTURES,
    ATTACKS,
    CRITERIA,
    DATASETS,
    OBJECTIVES,
    POLICIES,
    SENSITIVITIES,
    Axis,
    UnknownMethodError,
)


def parse_number(value: Any) -> Any:
    """Read ``8/255`` and ``1e-3``, which YAML takes for text, as numbers."""
    if not isinstance(value, str):
        return value
    top, slash, bottom = value.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no number; write 0.03, 1e-3 or 8/255") from None


@dataclass(frozen=True)
class MethodOf:
    """Marks a text as the name of one of an axis's methods."""

    axis: Axis

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Refuse unknown names."""
        return core_schema.no_info_after_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Offer the names to editors, without refusing methods from outside."""
        return {**handler(schema), "examples": sorted(self.axis.methods)}

    def _known(self, name: str) -> str:
        self.axis[name]
        return name


def attack_method(name: str) -> tuple[str, int | None]:
    """Split an attack's name: ``pgd-20`` is the method ``pgd-k`` with k = 20.

    Raises `UnknownMethodError` for a name that no attack answers to.
    """
    match = re.fullmatch(r"(.+)-([1-9]\d{0,4})", name)
    if match and f"{match[1]}-k" in ATTACKS.methods:
        return f"{match[1]}-k", int(match[2])
    if name.endswith("-k"):
        raise UnknownMethodError(f"attack {name!r}: give the number of steps, as in pgd-20")
    ATTACKS[name]
    return name, None


def _known_attack(name: str) -> str:
    attack_method(name)
    return name


Number = Annotated[float, BeforeValidator(parse_number), Field(allow_inf_nan=False)]
DatasetName = Annotated[str, MethodOf(DATASETS)]
ArchitectureName = Annotated[str, MethodOf(ARCHITECTURES)]
CriterionName = Annotated[str, MethodOf(CRITERIA)]
AllocationName = Annotated[str, MethodOf(ALLOCATIONS)]
SensitivityName = Annotated[str, MethodOf(SENSITIVITIES)]
ObjectiveName = Annotated[str, MethodOf(OBJECTIVES)]
PolicyName = Annotated[str, MethodOf(POLICIES)]
AttackName = Annotated[
    str,
    AfterValidator(_known_attack),
    Field(json_schema_extra={"examples": ["fgsm", "pgd-20"]}),
]
Share = Annotated[Number, Field(gt=0, lt=1)]
"""A share strictly between 0 and 1."""


class Spec(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
