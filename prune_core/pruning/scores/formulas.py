"""Formulas of criteria that take more than a line."""

from __future__ import annotations

import torch
from torch import Tensor


def sums_of_distances(rows: Tensor) -> Tensor:
    """Return the sum of each row's Euclidean distances to all others.

    Args:
        rows: [units, numbers of a unit].

    Returns:
        Sums [units].
    """
    if rows.shape[1] > 1:
        return torch.cdist(rows, rows).sum(1)
    # On a line the sums follow from one sort: no table of all pairs.
    ascending, order = rows.flatten().double().sort()
    below = torch.arange(len(order), device=order.device)
    sums = ascending.cumsum(0)
    total = ascending * (2 * below + 2 - len(order)) + sums[-1] - 2 * sums
    distances = torch.empty_like(total)
    distances[order] = total
    return distances


def shares_of_the_larger(numbers: Tensor) -> Tensor:
    """Return each number over the sum of all that are at least as large.

    Args:
        numbers: Not negative [units].

    Returns:
        Shares [units], 0 for zeros; of equal numbers the later counts as the larger.
    """
    ascending, order = numbers.sort(stable=True)
    at_least = ascending.flip(0).cumsum(0).flip(0)
    shares = torch.empty_like(numbers)
    shares[order] = ascending / at_least.clamp_min(torch.finfo(numbers.dtype).tiny)
    return shares
