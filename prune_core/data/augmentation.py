"""Augmentation of training images, a whole batch at once on its device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prune_core.errors import DatasetError
from prune_core.specs.images import called

Augment = Callable[[Tensor, torch.Generator], Tensor]
"""From images [n, c, h, w] and a generator on their device to images of the same shape."""


def nothing(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    del generator
    return images


def flip_and_shift(images: Tensor, generator: torch.Generator, pad: int = 4) -> Tensor:
    """Return images that are mirrored at random and shifted at random.

    Args:
        images: [n, c, h, w], on any device.
        generator: Draws flips and shifts, on the images' device.
        pad: The largest shift in pixels, in every direction; zeros fill the gap.

    Returns:
        Images of the same shape; each was mirrored left to right with probability 1/2.
    """
    count, _, height, width = images.shape
    device = images.device

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count, 1), generator=generator, device=device)

    rows = torch.arange(height, device=device) + draw(2 * pad + 1)
    columns = torch.arange(width, device=device).expand(count, -1)
    columns = torch.where(draw(2).bool(), columns.flip(1), columns) + draw(2 * pad + 1)
    padded = F.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    index = torch.arange(count, device=device).view(-1, 1, 1)
    return padded[index, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()


def named(texts: Sequence[str], shape: tuple[int, int, int]) -> Augment:
    """Return augmentations by name, one after the other.

    Args:
        texts: As `prune_core.specs.images.called` reads them; transforms of torchvision's v2.
        shape: Of an image.

    Returns:
        What draws for every image anew: torchvision's own draw once for a batch.

    Raises:
        DatasetError: One takes other arguments, or changes the size of images.
    """
    transforms = [_built(text) for text in texts]

    def augment(images: Tensor, generator: torch.Generator) -> Tensor:
        seed = torch.randint(2**62, (), generator=generator, device=generator.device)
        cuda = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):  # torchvision draws from the global generators
            torch.manual_seed(int(seed))
            return torch.stack([_through(transforms, image) for image in images]).clamp_(0, 1)

    try:
        with torch.random.fork_rng(devices=[]):
            seen = _through(transforms, torch.zeros(shape))
    except Exception as error:  # torchvision's checks raise what they like
        raise DatasetError(f"dataset.augment {', '.join(texts)}: {error}") from error
    if seen.shape != shape:
        raise DatasetError(
            f"dataset.augment {', '.join(texts)} makes images of {tuple(seen.shape)}; they are of "
            f"{shape}, as the test images, and must stay so"
        )
    return augment


def _built(text: str) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    name, arguments, settings = called(text)
    try:
        made: Callable[[Tensor], Tensor] = getattr(v2, name)(*arguments, **settings)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"dataset.augment {text}: {error}") from error
    return made


def _through(transforms: Sequence[Callable[[Any], Any]], image: Tensor) -> Tensor:
    for transform in transforms:
        image = transform(image)
    return image
