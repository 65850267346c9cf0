"""Live: the bytes of tensors that are alive at once, of operations that need not be done."""

from __future__ import annotations

import copy
import math
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Follows the storages of tensors that operations read or make, while it is entered.

    ``torch.distributed._tools.mem_tracker`` does the same, but refuses a network that is called
    twice in a step, as every attack calls it.

    Attributes:
        bytes: Of all that are alive.
        peak: The most that were alive at once.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def follow(self, tensors: Iterable[object]) -> None:
        """Take in tensors; what else there is among them is let be."""
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            place, size = storage._cdata, storage.nbytes()
            if place not in self._known:
                self._known.add(place)
                self.bytes += size
                self.peak = max(self.peak, self.bytes)
                weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.bytes -= size

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Do an operation."""
        made = func(*args, **(kwargs or {}))
        self.follow(tree_leaves((args, kwargs, made)))
        self.peak = max(self.peak, self.bytes + _room(func, args, made))
        return made


def _room(func: Any, args: Sequence[Any], made: Any) -> int:
    """Return the bytes that an operation takes while it computes.

    Libraries rearrange what convolutions read and make, where channels are not last: there are
    copies of the result on the way forwards, of images and the result's gradient on the way back;
    first of all of what is not in one piece. In double precision, and of one image, they lay out
    what each place reads instead. Distances are a product of what both are copied into. What is
    unfolded is padded.
    """
    if func is torch.ops.aten.im2col.default:
        return int(args[0].nbytes * (max(args[1]) > 1))
    if func is torch.ops.aten._euclidean_dist.default:
        return int(args[0].nbytes + args[1].nbytes)
    if func is torch.ops.aten.convolution.default:
        images, weight, copied = args[0], args[1], [made]
        places = made.numel() // made.shape[1]
    elif func is torch.ops.aten.convolution_backward.default:
        images, weight, copied = args[1], args[2], [*args[:2]]
        places = args[0].numel() // args[0].shape[1]
    else:
        return 0
    if images.dtype == torch.float64 or len(images) == 1:
        wide = math.prod(weight.shape[2:]) > 1
        return int(places * weight.nbytes // len(weight) * wide)
    if images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        return 0
    return sum(each.nbytes * (1 if each.is_contiguous() else 2) for each in copied)


class Dry(FakeTensorMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Tensors without contents, which networks may be converted and copied with."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # as its base has it
        made = super().__torch_dispatch__(func, types, args, kwargs)
        # What refers to a tensor that a module is to hold keeps `nn.Module.to` from exchanging it.
        self.fake_tensor_converter.tensor_memo.clear()
        return made

    def __deepcopy__(self, memo: object) -> Dry:
        """Return itself: the copy of a tensor without contents is one of the same kind."""
        return self


@contextmanager
def dry() -> Iterator[Live]:
    """Do nothing and allocate nothing for a while; follow what would be alive.

    What asks a tensor for its contents raises.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        with Dry(allow_non_fake_inputs=True), Live() as live:
            yield live


def emptied(network: nn.Module) -> nn.Module:
    """Return a copy of a network without contents; only to be called within `dry`."""
    copies: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        empty = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        copies[id(tensor)] = empty
    return copy.deepcopy(network, copies)
