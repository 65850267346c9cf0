"""Augmentation: every image is one of its own shifts, mirrored or not, and both happen."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from prune_core.data.augmentation import flip_and_shift


def test_an_image_is_mirrored_half_the_time_and_shifted_by_what_pads_it() -> None:
    image = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    drawn = flip_and_shift(image.expand(4000, 1, 3, 4), torch.Generator().manual_seed(0), pad=1)
    possible = {
        tuple(F.pad(seen, (1, 1, 1, 1))[0, 0, y : y + 3, x : x + 4].flatten().tolist()): mirrored
        for mirrored, seen in ((False, image), (True, image.flip(3)))
        for y in range(3)
        for x in range(3)
    }
    assert len(possible) == 18
    seen = [tuple(one.flatten().tolist()) for one in drawn]
    assert set(seen) == set(possible)
    share = sum(possible[one] for one in seen) / len(seen)
    assert abs(share - 0.5) < 0.04  # five standard errors
