"""Compute: in which precision, and by which kernels, trainings compute."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from prune_core.specs.fields import Spec

PROFILES: dict[str, dict[str, Any]] = {
    "exact": {
        "precision": "float32",
        "channels_last": False,
        "fused": False,
        "benchmark": False,
        "graphs": "none",
    },
    "fast": {
        "precision": "bfloat16",
        "channels_last": True,
        "fused": True,
        "benchmark": True,
        "graphs": "auto",
    },
}
"""Named settings of `Compute`: the most exact that there is, and what is fast on a GPU."""


class Compute(Spec):
    """How trainings compute. It changes the last bits of a result, so it is part of their keys.

    Sensitivities always compute in float32, and evaluations but for attacks that say otherwise.
    """

    unkeyed: ClassVar[frozenset[str]] = frozenset({"profile"})  # its settings are in the key
    later: ClassVar[frozenset[str]] = frozenset({"fused", "benchmark", "graphs"})
    profile: Literal["exact", "fast"] | None = Field(
        None,
        description="sets all below but compile: exact, which are the defaults, or fast, on a GPU: "
        "bfloat16, true and auto",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the training's attack and, under autocast, of its steps"
    )
    channels_last: bool = Field(False, description="keep images and convolutions channels-last")
    fused: bool = Field(False, description="the optimizer's step is one kernel")
    benchmark: bool = Field(
        False, description="on a GPU, the fastest of cuDNN's kernels, not its deterministic ones"
    )
    graphs: Literal["none", "auto"] = Field(
        "none",
        description="auto: on a GPU, a step is captured once and replayed where it can be; fused",
    )
    compile: bool = Field(False, description="use torch.compile: it takes minutes per network")

    @model_validator(mode="before")
    @classmethod
    def _of_profile(cls, data: Any) -> Any:
        return (
            {**PROFILES.get(str(data.get("profile")), {}), **data} if type(data) is dict else data
        )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        for name, value in PROFILES.get(self.profile or "", {}).items():
            if (given := getattr(self, name)) != value:
                raise ValueError(
                    f"profile {self.profile} has {name} {_text(value)}, and {_text(given)} is "
                    f"given: leave out {name}, or write the settings without a profile"
                )
        if self.graphs == "auto" and not self.fused:
            raise ValueError("graphs: auto needs fused: true, whose rate is no number of the host")
        return self

    @property
    def named(self) -> str:
        """The profile whose settings these are, or ``own``."""
        held = {name: getattr(self, name) for name in PROFILES["exact"]}
        return next((name for name, settings in PROFILES.items() if settings == held), "own")


def _text(value: Any) -> str:
    return str(value).lower()  # true, as YAML writes it
