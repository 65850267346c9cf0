"""What every network is measured by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from orchestrator.sweepfile.levels import distinct
from prune_core.specs.fields import AttackName, Images, Spec


class EvaluationRules(Spec):
    """What every network is measured by, besides clean accuracy."""

    attacks: Annotated[tuple[AttackName, ...], Field(min_length=1), AfterValidator(distinct)] = (
        Field(description="attacks on the test images, each a column of its own, at the threat")
    )
    sanity_images: Images = Field(
        64,
        ge=0,
        description="test images that every final network is checked on for false robustness; "
        "0 makes no check",
    )
    measure: Annotated[tuple[Literal["latency"], ...], AfterValidator(distinct)] = Field(
        (),
        description="what else is measured of every final network: latency, in batches of 1 and "
        "128 on the job's device, how many times as fast as the dense network that is, and the "
        "bytes of its weights; jobs beside it on the machine disturb it",
    )
