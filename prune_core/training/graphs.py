"""Graphs: a step captured once on the GPU, and replayed: one launch where there were a thousand.

What is captured is `prune_core.training.step.Step` as it is: it reads nothing from the device, and
what differs from step to step lies in tensors that stay where they are. The first steps are made
without a graph, on a stream beside: libraries choose their kernels in them, and optimizers make
their state. So are batches of another size than the recipe's (an epoch's last), and steps that
change masks. Generators are registered with the graph, so that a replay draws the next numbers of
the same sequence.

Source:
    PyTorch's notes on CUDA graphs: whole-network capture.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prune_core.specs.registry import OBJECTIVES
from prune_core.training.step import Step

WARM = 3
"""Steps that are made before one is captured, as PyTorch's notes have it."""
WAITS = frozenset({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape})
"""Marks of operations whose result, or its shape, the host must wait for."""


class CaptureError(RuntimeError):
    """A step that could not be captured; the device holds nothing of it."""


class Looks(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Notices operations that the host waits for while it is entered.

    Attributes:
        found: The first such operation; None if there was none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.found: str | None = None

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at an operation, and let it pass."""
        result = func(*args, **(kwargs or {}))
        if self.found is None and (_by_mask(func, args) or _waits(func, args, result)):
            self.found = str(func)
        return result


def _by_mask(func: Any, args: Sequence[Any]) -> bool:
    """Say whether an operation picks by a mask; by positions, it is known how much is picked."""
    indices = [one for each in args if isinstance(each, list | tuple) for one in each]
    return func._schema.name.startswith("aten::index") and any(
        isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8) for index in indices
    )


def _waits(func: Any, args: Sequence[Any], result: Any) -> bool:
    if "copy" in func._schema.name and isinstance(result, Tensor):
        return any(isinstance(each, Tensor) and each.device != result.device for each in args)
    return not func._schema.name.startswith("aten::index") and bool(WAITS & set(func.tags))


class Graphs:
    """Makes the steps of a training, replayed where that is possible.

    Args:
        step: The step.
        size: The images of a batch.
        reason: Why no step is captured; None where one may be.
        look: Whether a step is looked at for what the host would wait for.

    Attributes:
        reason: As given, or as found.
        replayed: The steps of an epoch that were replayed; it is set to 0 from outside.
    """

    def __init__(self, step: Step, size: int, reason: str | None, *, look: bool = True):
        self.reason, self.replayed = reason, 0
        self._step, self._size, self._look = step, size, look
        self._warm: Counter[tuple[bool, ...]] = Counter()
        self._graphs: dict[tuple[bool, ...], Callable[[], None]] = {}
        self._positions = torch.zeros(size, dtype=torch.long, device=step.device)

    @property
    def pending(self) -> bool:
        """Whether a step is still to be captured."""
        return self.reason is None and len(self._graphs) < self._step.phases

    def __call__(self, positions: Tensor) -> None:
        """Make the step that was prepared.

        Args:
            positions: Of its images among the training images [n], on their device.

        Raises:
            CaptureError: It should be captured, and cannot be.
        """
        phase = self._step.phase
        if self.reason is not None or len(positions) != self._size:
            self._step(positions)
        elif phase not in self._graphs and self._warm[phase] < WARM:
            self._warm[phase] += 1
            self._warm_up(positions, last=self._warm[phase] == WARM)
        else:
            if phase not in self._graphs:
                self._graphs[phase] = captured(self._step, self._positions)
            self._positions.copy_(positions)
            self._graphs[phase]()
            self.replayed += 1

    def give_up(self, reason: str) -> None:
        """Capture no step, and replay none."""
        self.reason = reason
        self._graphs.clear()

    def told(self, steps: int) -> str:
        """Say what came of the graphs in an epoch of so many steps."""
        said = f"{self.replayed} of {steps} steps replayed"
        return said if self.reason is None else f"{said}: {self.reason}"

    def _warm_up(self, positions: Tensor, *, last: bool) -> None:
        looks = Looks() if last and self._look else None
        with self._on_stream_beside(), looks or nullcontext():
            self._step(positions)
        if looks is not None and looks.found is not None:
            self.give_up(f"the host waits for {looks.found} in a step")

    @contextmanager
    def _on_stream_beside(self) -> Iterator[None]:
        if self._step.device.type != "cuda":
            yield
            return
        current, beside = torch.cuda.current_stream(self._step.device), _beside(self._step.device)
        beside.wait_stream(current)
        with torch.cuda.stream(beside):
            yield
        current.wait_stream(beside)


@functools.cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which steps are made before one is captured.

    A process has one: cuBLAS keeps some 70 MB for every stream that it has seen, for good.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's own


def captured(step: Step, positions: Tensor) -> Callable[[], None]:
    """Capture a step on the GPU; nothing is computed meanwhile.

    Args:
        step: The step, prepared.
        positions: Where a replay finds the positions of its images.

    Returns:
        What makes the step as it is prepared then.

    Raises:
        CaptureError: It cannot be captured.
    """
    graph = torch.cuda.CUDAGraph()
    for generator in step.generators.values():
        graph.register_generator_state(generator)
    step.optimizer.zero_grad()
    groups = step.optimizer.param_groups
    before = [group.get("capturable") for group in groups]
    for group in groups:
        group["capturable"] = True  # torch asks for it; it changes nothing of a fused step
    try:
        # By this thread alone: others may write checkpoints or ask for the device's power.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step(positions)
    except RuntimeError as error:
        raise CaptureError(f"{error}".partition("\n")[0]) from error
    finally:
        for group, capturable in zip(groups, before, strict=True):
            if capturable is None:
                del group["capturable"]
            else:
                group["capturable"] = capturable
    return graph.replay


def reason_against(objective: str, device: torch.device, has_penalty: bool) -> str | None:
    """Return why steps of a training are not captured, as far as it is known before one is made.

    Args:
        objective: Its name.
        device: What is computed on.
        has_penalty: Whether something is added to the loss that the host decides on.
    """
    if device.type != "cuda":
        return "only a GPU has graphs"
    if OBJECTIVES.outside(objective):
        return f"objective {objective} is not built in: what it reads on the host is not known"
    return "scores are trained" if has_penalty else None
