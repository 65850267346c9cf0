"""Forward passes that start at a layer: everything before it is computed once and replayed.

While only the weights of one layer change, everything before it gives the same output for the same
batch. The outputs of the largest submodules before the layer are kept, so the memory is that of a
few feature maps for each batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

Forward = Callable[..., Any]


class Prefix:
    """A context in which passes over known batches skip everything before a layer.

    The first pass over a batch is complete; later ones start at the layer. If the layer runs more
    than once in a pass, all passes are complete. Within the context only `logits` may run the
    network; afterwards the network is as before.

    Args:
        network: A network in eval mode.
        layer: The name of the layer whose weights change.
        batches: The images of each batch, [n, c, h, w] in [0,1].
    """

    def __init__(self, network: nn.Module, layer: str, batches: Sequence[Tensor]):
        self._network = network
        self._batches = batches
        self._target = network.get_submodule(layer)
        self._before, self._skipped = _candidates(network, layer)
        self._memory: dict[int, dict[nn.Module, list[Tensor | None]]] = {}
        self._calls: dict[nn.Module, int] = defaultdict(int)
        self._index = 0
        self._reached = 0
        self._replaying = False

    def __enter__(self) -> Self:
        self._hook = self._target.register_forward_pre_hook(self._reach)
        for module in self._before:
            module.__dict__["forward"] = self._remembering(module, module.forward)
        for module in self._skipped:
            module.__dict__["forward"] = self._passing(module.forward)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hook.remove()
        for module in (*self._before, *self._skipped):
            module.__dict__.pop("forward", None)
        self._memory.clear()

    def logits(self, index: int) -> Tensor:
        """Return the logits of the batch at ``index``."""
        self._index, self._reached = index, 0
        self._calls.clear()
        self._replaying = index in self._memory
        self._memory.setdefault(index, defaultdict(list))
        logits: Tensor = self._network(self._batches[index])
        if self._reached != 1:
            del self._memory[index]
        return logits

    def _reach(self, *_: Any) -> None:
        self._reached += 1

    def _remembering(self, module: nn.Module, forward: Forward) -> Forward:
        def run(*inputs: Any, **named: Any) -> Any:
            known = self._memory[self._index][module]
            if self._replaying:
                call = self._calls[module]
                self._calls[module] += 1
                output = known[call] if call < len(known) else None
                # It is a copy because later layers may work in place.
                return forward(*inputs, **named) if output is None else output.clone()
            if self._reached:
                return forward(*inputs, **named)
            with torch.no_grad():  # nothing before the layer needs a gradient
                output = forward(*inputs, **named)
            known.append(output.clone() if isinstance(output, Tensor) else None)
            return output

        return run

    def _passing(self, forward: Forward) -> Forward:
        def run(*inputs: Any, **named: Any) -> Any:
            if self._replaying:
                return inputs[0]
            with torch.no_grad():
                return forward(*inputs, **named)

        return run


def _candidates(network: nn.Module, layer: str) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules before a layer whose outputs are kept, and those that can be skipped."""
    remembered: list[nn.Module] = []
    skipped: list[nn.Module] = []
    parent = network
    for name in layer.split("."):
        children = dict(parent.named_children())
        if type(parent) is nn.Sequential:
            before = [children[n] for n in list(children)[: list(children).index(name)]]
            skipped += before[:-1]
            remembered += before[-1:]
        else:
            remembered += [child for known, child in children.items() if known != name]
        parent = children[name]
    return remembered, skipped
