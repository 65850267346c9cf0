"""What training images go through, and what is put among them: settings of a data set."""

from __future__ import annotations

import ast
import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from prune_core.specs.fields import Share, Spec, absolute
from prune_core.specs.keys import KEY_DIGITS, file_digest

AUGMENTATIONS = (
    "AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur", "GaussianNoise",
    "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast",
    "RandomChannelPermutation", "RandomCrop", "RandomEqualize", "RandomErasing", "RandomGrayscale",
    "RandomHorizontalFlip", "RandomInvert", "RandomPerspective", "RandomPhotometricDistort",
    "RandomPosterize", "RandomResizedCrop", "RandomRotation", "RandomSolarize",
    "RandomVerticalFlip", "TrivialAugmentWide",
)  # fmt: skip
"""Of torchvision.transforms.v2: those that draw at random and leave labels and sizes alone."""
FORM = "write it as in Python: RandomHorizontalFlip, or RandomCrop(32, padding=4)"


def called(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return the name, the arguments and the named arguments of an augmentation.

    Raises:
        ValueError: It is not one, or its arguments are more than plain values.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        arguments = [ast.literal_eval(argument) for argument in call.args]
        named = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r}: {FORM}, with plain values as arguments") from error
    if not isinstance(call.func, ast.Name) or len(named) < len(call.keywords):
        raise ValueError(f"{text!r}: {FORM}")
    if call.func.id not in AUGMENTATIONS:
        near = difflib.get_close_matches(call.func.id, AUGMENTATIONS, n=3, cutoff=0.5)
        raise ValueError(
            f"unknown augmentation {call.func.id!r}; of torchvision.transforms.v2 there are "
            f"{', '.join(near or AUGMENTATIONS)}"
        )
    return call.func.id, arguments, named


def _written(text: str) -> str:
    """Return an augmentation as it is written in keys, whatever its spaces and quotes."""
    name, arguments, named = called(text)
    given = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in named.items())]
    return f"{name}({', '.join(given)})"


Augmentation = Annotated[str, AfterValidator(_written)]


class Extra(Spec):
    """Further training images, of which every batch has its share."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"file"})
    file: Annotated[str, AfterValidator(absolute)] = Field(
        description="NumPy's .npz with image [n, h, w, channels] as uint8 and label [n], as sets "
        "of generated images have it; not part of any key"
    )
    share: Share = Field(description="of every batch; an epoch has as many steps as without")
    content: Annotated[str, Field(pattern=rf"^[0-9a-f]{{{KEY_DIGITS}}}$")] | None = Field(
        None,
        description="digest of the file; only to be given where the machine that plans does not "
        "have it",
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.content is not None:
            return self
        found = file_digest(Path(self.file))
        if found is None:
            raise ValueError(f"no file {self.file} to read; give its content where it is elsewhere")
        return self.model_copy(update={"content": found})
