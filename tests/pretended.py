"""A device that is not the processor, for machines that have no other.

Its tensors say that they lie elsewhere, and the processor computes with them. What a GPU refuses,
it refuses: an operation on tensors of both. So it is seen without a GPU that a method leaves
nothing on the processor. Numbers are drawn as on the processor, so that results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch._dynamo  # imported while `torch.Generator` is its own
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("lazy", 0)
"""A kind of device that torch knows and nobody has; autograd starts no thread for it."""
COPIES = ("aten::_to_copy", "aten::copy_", "aten::_foreach_copy_")
"""Operations between devices."""
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_")
"""Those that take positions from the processor, where what is looked up lies elsewhere."""


class MixedError(AssertionError):
    """An operation on tensors of two devices."""


class Away(Tensor):
    """A tensor elsewhere."""

    held: Tensor
    """What it is on the processor."""

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        made: Away = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, layout=held.layout, device=ELSEWHERE,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return done(func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        with torch.no_grad():
            made: Tensor = self.detach().clone()
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, self.requires_grad)
        memo[id(self)] = made
        return made

    @property
    def data(self) -> Tensor:  # type: ignore[override]  # torch has a descriptor of its own
        return self.detach()

    @data.setter
    def data(self, value: Away) -> None:
        Tensor.data.__set__(self, value)
        self.held = value.held

    def tolist(self) -> Any:
        return self.held.tolist()


class Elsewhere(TorchDispatchMode):
    """Has tensors made there."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return done(func, args, kwargs or {})


class Made(TorchFunctionMode):
    """Has `torch.tensor` and lists of positions make tensors there: no operation tells of those."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and _there(kwargs.get("device")):
            return func(*args, **kwargs | {"device": "cpu"}).to(ELSEWHERE)
        if func in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], Away):
            whole, places, *rest = args
            every = places if isinstance(places, tuple) else (places,)
            made = (torch.tensor(each) if isinstance(each, list) else each for each in every)
            args = (whole, tuple(made), *rest)
        return func(*args, **kwargs)


def done(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Do an operation on the processor; return what it makes as it would lie.

    Raises:
        MixedError: It takes tensors of both devices.
    """
    name = func._schema.name
    given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    away = {id(each.held): each for each in given if isinstance(each, Away)}
    here = [each for each in given if not isinstance(each, Away) and each.dim()]
    if away and here and name not in COPIES:
        looked_up = name in INDEXED and isinstance(args[0], Away)
        if not looked_up or any(each is here[0] for each in args[2:]):
            shapes = [tuple(each.shape) for each in here]
            raise MixedError(f"{func}: of two devices; on the processor are {shapes}")
    made = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if name == "aten::copy_":
        return args[0]
    asked = kwargs.get("device")
    if not (_there(asked) if asked is not None else away):
        return made
    return tree_map(lambda each: away[id(each)] if id(each) in away else _lying_away(each), made)


def _there(device: Any) -> bool:
    return device is not None and torch.device(device).type == ELSEWHERE.type


def _held(value: Any) -> Any:
    if isinstance(value, Away):
        return value.held
    return torch.device("cpu") if isinstance(value, torch.device) and _there(value) else value


def _lying_away(value: Any) -> Any:
    return Away(value) if isinstance(value, Tensor) else value


class Draw(torch.Generator):
    """A generator of the processor's, wherever it is asked for."""

    def __new__(cls, device: Any = None) -> Draw:
        del device
        made: Draw = super().__new__(cls)
        return made


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Have the device for a while."""
    # A parameter that is moved is another tensor, for its memory is.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    with monkeypatch.context() as patched, Elsewhere(), Made():
        patched.setattr(torch, "Generator", Draw)
        plain = torch.autocast
        patched.setattr(torch, "autocast", lambda _, *given, **how: plain("cpu", *given, **how))
        try:
            yield ELSEWHERE
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(before)
