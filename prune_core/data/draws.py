"""Draws: which images of a split stand for the whole of it."""

from __future__ import annotations

import torch
from torch import Tensor


def drawn(labels: Tensor, count: int, seed: int) -> Tensor:
    """Return positions of a random sample in which every class has its share.

    Images of a class are shuffled and spread evenly from 0 to 1; the sample takes all images in
    that order. So does any beginning of it, which is why the first batch is a sample too. Shares
    are rounded as by Sainte-Lague; among equal classes, chance decides which has one more.

    Args:
        labels: The classes of the split's images [n], in any order.
        count: The size of the sample; all images if there are fewer.
        seed: The choice depends on it.

    Returns:
        Positions in the split [min(count, n)], on the device of the labels, in the order drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    shuffled = labels.cpu()[order]
    sizes = shuffled.bincount()
    by_class = shuffled.argsort(stable=True)
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[shuffled[by_class]]
    place = (rank.double() + 0.5) / sizes[shuffled]
    return order[place.argsort(stable=True)[:count]].to(labels.device)
