"""Augmentation of training images, a whole batch at once on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
