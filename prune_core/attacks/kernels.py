"""Kernels: how exactly a GPU multiplies numbers of float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Let a GPU round the numbers that it multiplies to 10 bits after the first, or forbid it."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = allowed
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
