"""Fields of specs: numbers as people write them, names of methods, shares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from prune_core.specs.registry import (
    ALLOCATIONS,
    ARCHITECTURES,
    ATTACKS,
    CRITERIA,
    DATASETS,
    GRANULARITIES,
    OBJECTIVES,
    POLICIES,
    SCHEDULES,
    SENSITIVITIES,
    Axis,
)

LONGEST = 200
"""Characters of a method's name; each wrapper in it is looked up within the one before."""


def no_truth(value: Any) -> Any:
    """Refuse a truth value, which Python takes for 1 or 0."""
    if isinstance(value, bool):
        raise ValueError("true and false, as YAML reads yes, no, on and off too, are no numbers")
    return value


def parse_number(value: Any) -> Any:
    """Read ``8/255`` and ``1e-3``, which YAML takes for text, as numbers."""
    if not isinstance(value, str):
        return value
    top, slash, bottom = value.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is no number; write 0.03, 1e-3 or 8/255") from None


def absolute(path: str) -> str:
    """Return the absolute path, ``~`` and ``$NAME`` filled in.

    Workers have other working folders than the reader of the sweep file.
    """
    try:
        return str(Path(os.path.expandvars(path)).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError(
            f"{path!r}: that user's home is not known here; give the whole path"
        ) from error


@dataclass(frozen=True)
class OneOf:
    """Marks a text as one of some names, as a Literal of them would."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Refuse other names."""
        del source, handler  # pydantic's signature
        return core_schema.literal_schema(list(self.names))


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
        names = sorted(self.axis.methods)
        return {**handler(schema), "examples": names, "axis": self.axis.axis}

    def _known(self, name: str) -> str:
        if len(name) > LONGEST:
            raise ValueError(f"names have at most {LONGEST} characters; this has {len(name)}")
        self.axis[name]
        return name


@dataclass(frozen=True)
class Unit:
    """Says what a number is counted in, for those who read the schema."""

    name: str

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the unit to what the schema says."""
        return {**handler(schema), "unit": self.name}


Count = Annotated[int, BeforeValidator(no_truth), Field(le=2**63 - 1)]
"""A whole number, as tables can hold it."""
QUOTIENT = r"^[-+.0-9eE]+(/[-+.0-9eE]+)?$"
"""A number that YAML takes for text."""
Number = Annotated[
    float,
    BeforeValidator(
        parse_number, json_schema_input_type=float | Annotated[str, Field(pattern=QUOTIENT)]
    ),
    BeforeValidator(no_truth),
    Field(allow_inf_nan=False),
]
DatasetName = Annotated[str, MethodOf(DATASETS)]
ArchitectureName = Annotated[str, MethodOf(ARCHITECTURES)]
CriterionName = Annotated[str, MethodOf(CRITERIA)]
AllocationName = Annotated[str, MethodOf(ALLOCATIONS)]
SensitivityName = Annotated[str, MethodOf(SENSITIVITIES)]
ObjectiveName = Annotated[str, MethodOf(OBJECTIVES)]
ScheduleName = Annotated[str, MethodOf(SCHEDULES)]
PolicyName = Annotated[str, MethodOf(POLICIES)]
GranularityName = Annotated[str, MethodOf(GRANULARITIES)]
AttackName = Annotated[str, MethodOf(ATTACKS)]
Share = Annotated[Number, Field(gt=0, lt=1), Unit("share")]
"""A share strictly between 0 and 1."""
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Images = Annotated[Count, Unit("images")]
Epochs = Annotated[Count, Unit("epochs")]
Steps = Annotated[Count, Unit("steps")]


class Spec(BaseModel):
    """A frozen value that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    unkeyed: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no number, and are in no key: where something lies."""
    later: ClassVar[frozenset[str]] = frozenset()
    """Fields that came when there were results already: at their default, keys are as before."""
