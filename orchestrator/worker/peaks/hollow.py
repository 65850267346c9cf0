"""Hollow: images and what is made of them have no contents; the rest has, and code may read it.

What criteria and sensitivities do next depends on numbers: of scores, of losses, of labels. So what
is made of tensors with contents alone is really computed, and of what is not, small results are
made up.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._pytree import tree_leaves, tree_map_only

from orchestrator.worker.peaks.live import Dry, Live

SMALL = 2**12
"""Numbers of a result that are made up: there are as many channels, and losses, at most."""
LARGE = 2**25
"""Numbers of a tensor that has contents, at most: of all weights of most networks."""


@contextmanager
def hollow() -> Iterator[Live]:
    """Follow for a while what is alive, and compute next to nothing where images are concerned.

    What ``torch.empty`` makes has no contents. Nothing that has is changed by what has none.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        with _Hollow(allow_non_fake_inputs=True), Live() as live:
            yield live


class _Hollow(Dry):
    """Tensors of which some have contents."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._draw = torch.Generator().manual_seed(0)
        self._within = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # as its base has it
        kwargs = kwargs or {}
        if self._within:  # an operation that torch made another one of
            return super().__torch_dispatch__(func, types, args, kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        full = [tensor for tensor in given if not isinstance(tensor, FakeTensor)]
        new = "empty" in func.overloadpacket.__name__
        few = all(tensor.numel() <= LARGE for tensor in full)
        if given and len(full) == len(given) and few and not new:
            return func(*args, **kwargs)
        # As torch would, but it would not remember the result of an operation on a mixture.
        emptied = {id(tensor): self._emptied(tensor) for tensor in full}
        args, kwargs = _exchanged((args, kwargs), emptied)
        self._within = True
        try:
            made = super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self._within = False
        if not given and not new:
            real = isinstance(made, Tensor) and made.numel() <= LARGE
            return func(*args, **kwargs) if real else made
        # What is written into stays what it is.
        made = _exchanged(made, {id(emptied[id(tensor)]): tensor for tensor in full})
        if func.is_view or func._schema.is_mutable:
            return made
        return tree_map_only(FakeTensor, self._with_contents, made)

    def _emptied(self, tensor: Tensor) -> FakeTensor:
        empty = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta"
        )
        return FakeTensor(self, empty, tensor.device)

    def _with_contents(self, made: FakeTensor) -> Tensor:
        """Return a small tensor with contents: from 0 to 1, 0, true."""
        if made.numel() > SMALL:
            return made
        if made.dtype.is_floating_point:
            return torch.rand(made.shape, generator=self._draw, dtype=made.dtype)
        return torch.full(made.shape, made.dtype == torch.bool, dtype=made.dtype)


def _exchanged(tree: Any, others: dict[int, Any]) -> Any:
    """Return a tree with other tensors in the place of some, by their ids."""
    return tree_map_only(Tensor, lambda tensor: others.get(id(tensor), tensor), tree)
