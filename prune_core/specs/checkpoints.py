"""Checkpoints: dense networks from outside, as values; which file, and what was put before it."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prune_core.specs.fields import Number, Share, Spec, absolute
from prune_core.specs.keys import KEY_DIGITS, file_digest
from prune_core.specs.recipes import Training

HUB, TORCHVISION, TIMM = REMOTE = ("hf-hub:", "torchvision:", "timm:")
"""What the names of weights begin with that are no paths."""
PLACEHOLDERS = ("architecture", "seed")
"""What a file's name may hold in braces: each network then has a file of its own."""


class Constants(Spec):
    """Constants of a normalisation, one a channel: images in [0,1] less mean, divided by std."""

    mean: tuple[Number, ...] = Field(min_length=1, description="what is taken off, by channel")
    std: tuple[Annotated[Number, Field(gt=0)], ...] = Field(
        min_length=1, description="what is divided by then, by channel"
    )

    @model_validator(mode="after")
    def _alike(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} stds; give one a channel")
        return self


Normalisation = Literal["dataset", "none"] | Constants


class Expected(Spec):
    """What a checkpoint is known to reach, as a share of the test images."""

    clean: Share = Field(description="accuracy on the test images without an attack")


class Checkpoint(Spec):
    """A file of weights that a dense network starts from."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"file", "expect"})
    later: ClassVar[frozenset[str]] = frozenset({"fresh"})
    file: str = Field(description="where it is: a path or hf-hub:...; not part of any key")
    content: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_DIGITS}}}$")]
    expect: Expected | None = Field(None, description="checked before; not part of any key")
    fresh: tuple[str, ...] | None = Field(None, description="layers that it is not taken for")


def _located(name: Any) -> Any:
    """Return the absolute path of a file's name, with the placeholders that it has."""
    if not isinstance(name, str):
        return name
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(name) if field is not None]
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
    if unknown := [field for field in fields if field not in PLACEHOLDERS]:
        allowed = " and ".join(f"{{{known}}}" for known in PLACEHOLDERS)
        raise ValueError(f"{name!r}: unknown {{{unknown[0]}}}; a name may hold {allowed}")
    return name if name.startswith(REMOTE) else absolute(name)


class DenseLevel(Training):
    """A level of the factor ``dense``: a training from random weights, or on from a checkpoint."""

    checkpoint: Annotated[str, BeforeValidator(_located)] | None = Field(
        None,
        description="file of weights to start from (safetensors, or PyTorch without code), "
        "hf-hub:OWNER/NAME[/FILE], torchvision:WEIGHTS or timm:NAME; {seed} and {architecture} in "
        "it are filled in",
    )
    fresh: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="layers, or single weights, that start at random all the same, such as [fc], "
        "the classifier of other classes",
    )
    normalise: Normalisation = Field(
        "dataset",
        description="what is done to images in [0,1] before the network: the data set's mean and "
        "std, none (where the network normalises itself), or {mean: [...], std: [...]}",
    )
    expect: Expected | None = Field(
        None,
        description="accuracy on the test images that the checkpoint is known to have; another, "
        "by over a point, is refused before anything runs",
    )

    @model_validator(mode="before")
    @classmethod
    def _as_it_is(cls, data: Any) -> Any:
        """Train a checkpoint no further where nothing is said."""
        if isinstance(data, dict) and data.get("checkpoint") is not None:
            return {"epochs": 0, **data}
        return data

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.checkpoint is None:
            if given := [name for name in ("expect", "fresh") if getattr(self, name) is not None]:
                raise ValueError(f"{given[0]} is of a checkpoint; there is none")
        elif "normalise" not in self.model_fields_set:
            raise ValueError(
                "checkpoint needs normalise, which its file does not say: dataset, none (it "
                "normalises itself, or takes images in [0,1]) or {mean: [...], std: [...]}"
            )
        return self

    @property
    def training(self) -> Training:
        """What is done to the first weights, every default written out."""
        return Training(**self.model_dump(include=set(Training.model_fields))).resolved()

    def file(self, architecture: str, seed: int) -> str | None:
        """Return the name of one network's file; None where it starts from random weights."""
        if self.checkpoint is None:
            return None
        return self.checkpoint.format(architecture=architecture, seed=seed)

    def start(self, architecture: str, seed: int) -> Checkpoint | None:
        """Return what one network starts from.

        Raises:
            OSError: The file is not there, or cannot be had.
        """
        name = self.file(architecture, seed)
        if name is None:
            return None
        content = file_digest(located(name))
        if content is None:
            raise FileNotFoundError(f"no file {name} to read")
        return Checkpoint(file=name, content=content, expect=self.expect, fresh=self.fresh)


def located(name: str) -> Path:
    """Return where a checkpoint's file lies on this machine; one that is published is fetched once.

    Args:
        name: A path; ``hf-hub:OWNER/NAME[@REVISION][/FILE]``, by default its ``model.safetensors``;
            ``timm:NAME``, which is ``hf-hub:timm/NAME``; or what torchvision calls its weights,
            ``torchvision:ResNet18_Weights.IMAGENET1K_V1``.

    Raises:
        OSError: Nothing of this name is published, or it cannot be had.
    """
    if name.startswith(HUB):
        return _of_the_hub(name.removeprefix(HUB), name)
    if name.startswith(TIMM):
        return _of_the_hub(f"timm/{name.removeprefix(TIMM)}", name)
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION))
    return Path(name)


def _of_the_hub(where: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    owner, _, rest = where.partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    try:
        return Path(
            hf_hub_download(
                f"{owner}/{repository}", file or "model.safetensors", revision=revision or None
            )
        )
    except ValueError as error:  # the Hub's errors are its own kinds of these two
        tag = " (timm's names of weights end with a tag, as in resnet18.a1_in1k)"
        raise OSError(f"{name}: {error}{tag if name.startswith(TIMM) else ''}") from error


def _of_torchvision(name: str) -> Path:
    """Return the file where torchvision keeps it too."""
    from torch import hub
    from torchvision.models import get_weight

    try:
        url = str(get_weight(name).url)
    except (ValueError, KeyError, AttributeError) as error:
        raise OSError(
            f"torchvision has no weights {name!r}; names are like ResNet18_Weights.IMAGENET1K_V1"
        ) from error
    file = Path(hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        digest = file.stem.rpartition("-")[2]
        try:
            hub.download_url_to_file(url, str(file), hash_prefix=digest, progress=False)
        except (RuntimeError, OSError) as error:  # its digest is another, or there is no network
            raise OSError(f"{url}: {error}") from error
    return file
