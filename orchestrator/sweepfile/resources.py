"""How a sweep is to be run: what its jobs take, and when enough seeds are done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prune_core.specs.fields import ArchitectureName, Count, Number, OneOf, Spec, Unit
from prune_core.specs.stages import JOB_KINDS

UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MOST_SEEDS = 100_000


def _measured_in(units: Mapping[str, int], example: str) -> BeforeValidator:
    """Return a validator that reads a number with its unit."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
        if not match or match[2] not in units:
            raise ValueError(f"{value!r}: write {example}; units: {', '.join(units)}")
        return float(match[1]) * units[match[2]]

    return BeforeValidator(read)


Bytes = Annotated[Count, _measured_in(UNITS, "4 GiB"), Field(gt=0), Unit("bytes")]
Seconds = Annotated[Number, _measured_in(PERIODS, "90m or 12h"), Field(gt=0), Unit("seconds")]
Pause = Annotated[Number, _measured_in(PERIODS, "90s or 5m"), Field(ge=0), Unit("seconds")]
ProcessName = Literal["auto", "worker", "fresh", "resident"]
CORES = "processor cores of a job"
CHECKPOINTS = (
    "time from one checkpoint of a training to the next, at least, such as 5m; 0: one after every "
    "epoch. The last one always has one, and each from a notice on that its node is to go"
)
PROCESS = (
    "where Ray runs a job. fresh: a process of its own, forked from one on the node that has all "
    "imports done; resident: such a process does job after job, keeps the images, and is replaced "
    "after a failure; worker: Ray's own; auto: fresh on a GPU, worker on a CPU"
)
GPUS = (
    "share of a GPU; 0 runs the job on the CPU; auto: as much as the memory of earlier jobs of its "
    "kind, architecture, batch size and images asks for; before there are any, what is predicted, "
    "or a whole one"
)


class Takes(Spec):
    """What a job takes while it runs; a wider rule says what is left out here."""

    cpus: Annotated[Number, Field(gt=0), Unit("cores")] | None = Field(None, description=CORES)
    gpus: Annotated[Number, Field(ge=0, le=1)] | Literal["auto"] | None = Field(
        None, description=GPUS
    )
    memory: Bytes | None = Field(None, description="main memory, such as 4 GiB")
    accelerator: str | None = Field(None, description="model of GPU as Ray names it, such as H100")
    time_limit: Seconds | None = Field(
        None, description="after which a job counts as hanging and is tried elsewhere, such as 12h"
    )
    process: ProcessName | None = Field(None, description=PROCESS)
    checkpoint_every: Pause | None = Field(None, description=CHECKPOINTS)


Kind = Annotated[str, OneOf(JOB_KINDS)]


class Resources(Takes):
    """What jobs take: for all, by architecture, and by kind; the narrowest rule holds."""

    cpus: Annotated[Number, Field(gt=0), Unit("cores")] = Field(1.0, description=CORES)
    gpus: Annotated[Number, Field(ge=0, le=1)] | Literal["auto"] = Field(1.0, description=GPUS)
    process: ProcessName = Field("auto", description=PROCESS)
    checkpoint_every: Pause = Field(60.0, description=CHECKPOINTS)
    architectures: dict[ArchitectureName, Takes] = Field(
        {}, description="rules for single architectures"
    )
    kinds: dict[Kind, Takes] = Field(
        {}, description=f"rules for kinds of jobs: {', '.join(JOB_KINDS)}"
    )


class Until(Spec):
    """When enough seeds are done."""

    half_width: Annotated[Number, Field(gt=0, lt=1), Unit("share")] = Field(
        description="half width of the verdict's 95 % interval, as a share of the variance"
    )
    metric: str | None = Field(
        None, description="metric of the verdict; by default the leading one"
    )
    hours: Annotated[Number, Field(gt=0), Unit("hours")] | None = Field(
        None, description="device-hours after which no more seeds are added"
    )


class Replication(Spec):
    """Seeds that are added until the verdict is narrow enough, or the budget is spent."""

    min: Annotated[Count, Unit("seeds")] = Field(
        3, ge=3, description="seeds at first; an interval needs 3"
    )
    max: Annotated[Count, Unit("seeds")] = Field(le=MOST_SEEDS, description="seeds at most")
    until: Until = Field(description="what is narrow enough, or spent")

    @model_validator(mode="after")
    def _max_over_min(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max {self.max} is less than min {self.min}")
        return self
