"""Graphs: a replayed step is the step. Without a GPU, a tape of its operations stands for a graph.

The tape holds what a CUDA graph holds: operations on memory that stays where it is, and every
number of the host as it was when they were recorded. What a replay would get wrong on a GPU because
the host decides it (a rate, a share, a first step, a generator), it gets wrong here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_step import Small, images, pruned
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from prune_core.data import datasets
from prune_core.specs.compute import PROFILES, Compute
from prune_core.specs.recipes import Growth
from prune_core.training import graphs, loop
from prune_core.training.growth import Rule, by_gradient
from prune_core.training.history import Epoch
from prune_core.training.step import Step

from conftest import THREAT, keeping
from test_training import few, recipe, same

FUSED = Compute(fused=True)
AUTO = Compute(fused=True, graphs="auto")


class Tape(TorchDispatchMode):
    """Records operations, and makes them again on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, result))  # no memory is used twice
        return result

    @torch.no_grad()
    def replay(self) -> None:
        memory: dict[int, torch.UntypedStorage] = {}  # of a replay, by that of the recording

        def now(tensor: Tensor) -> Tensor:
            recorded = tensor.untyped_storage()
            there = memory.get(recorded._cdata, recorded)
            place = (tensor.storage_offset(), tensor.size(), tensor.stride())
            return torch.empty(0, dtype=tensor.dtype).set_(there, *place)

        for func, args, kwargs, recorded in self._operations:
            args, kwargs = tree_map_only(Tensor, now, (args, kwargs))
            pairs = zip(tree_leaves(recorded), tree_leaves(func(*args, **kwargs)), strict=True)
            for before, after in pairs:
                if isinstance(before, Tensor):
                    memory[before.untyped_storage()._cdata] = after.untyped_storage()


def taped(step: Step, positions: Tensor) -> Callable[[], None]:
    """Record a step, as `graphs.captured` captures it: nothing has happened afterwards."""
    model = step.average._model
    tensors = [*step._network.state_dict().values(), step.loss, step.right]
    tensors += [*model.state_dict().values()] if model else []
    tensors += [t for state in step.optimizer.state.values() for t in state.values()]
    before = [tensor.detach().clone() for tensor in tensors]
    drawn = {generator: generator.get_state() for generator in step.generators.values()}
    with Tape() as tape:
        step(positions)
    with torch.no_grad():
        for tensor, value in zip(tensors, before, strict=True):
            tensor.copy_(value)
    for generator, state in drawn.items():
        generator.set_state(state)
    return tape.replay


@pytest.fixture
def _tapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "reason_against", lambda *_: None)
    monkeypatch.setattr(graphs, "captured", taped)


def trained(
    data: datasets.Dataset, compute: Compute, settings: dict[str, Any], **how: Any
) -> tuple[torch.nn.Module, list[Epoch]]:
    training = recipe(**{"epochs": 2, "batch_size": 16, "attack_steps": 1, **settings})
    network = pruned("weight")
    torch.manual_seed(1)  # the same teacher every time
    teacher = Small().eval()
    threat = THREAT if training.adversarial else None
    teacher = teacher if training.taught else None
    history = loop.fit(
        network, few(data, 84), training, threat, "k", compute=compute, teacher=teacher, **how
    )
    return network, history


FAST = {**PROFILES["fast"], "graphs": "none"}
CASES: dict[str, dict[str, Any]] = {
    "standard": {},
    "pgd, averaged": {"objective": "pgd", "averaging": "ema", "ema_decay": 0.9},
    "fgsm, adamw": {"objective": "fgsm", "optimizer": "adamw", "lr": 0.003},
    "mart": {"objective": "mart", "averaging": "swa", "swa_start": 0.4},
    "trades": {"objective": "trades"},
    "awp, warmed up": {"objective": "awp:pgd", "awp_warmup": 0.5},
    "distilled": {"objective": "distill:standard"},
}


@pytest.mark.usefixtures("_tapes")
@pytest.mark.parametrize("case", CASES)
def test_a_replayed_training_is_the_training(case: str, digits: datasets.Dataset) -> None:
    """To the bit, in every epoch: 6 steps each, of which the last has fewer images."""
    plain, history = trained(digits, FUSED, CASES[case])
    replayed, again = trained(digits, AUTO, CASES[case])
    assert same(plain, replayed)
    assert [(e.loss, e.train_accuracy) for e in history] == [
        (e.loss, e.train_accuracy) for e in again
    ]
    # The first step that is averaged is of its own kind, and so are those of AWP's warm-up.
    counts = {"pgd, averaged": (1, 5), "awp, warmed up": (2, 2)}.get(case, (2, 5))
    assert [e.graphs for e in history] == [None, None]
    assert [e.graphs for e in again] == [f"{count} of 6 steps replayed" for count in counts]


@pytest.mark.usefixtures("_tapes")
def test_under_the_fast_profile_too(digits: datasets.Dataset) -> None:
    settings = {"objective": "pgd", "averaging": "ema"}
    plain, _ = trained(digits, Compute(**FAST), settings)
    replayed, _ = trained(digits, Compute(profile="fast"), settings)
    assert same(plain, replayed)


@pytest.mark.usefixtures("_tapes")
def test_a_replayed_training_goes_on_from_a_checkpoint(digits: datasets.Dataset) -> None:
    settings = {"objective": "fgsm", "averaging": "ema", "optimizer": "adamw", "lr": 0.003}
    kept: list[Any] = []
    whole, _ = trained(digits, FUSED, settings)
    trained(digits, AUTO, settings, on_epoch=keeping(kept))
    resumed, history = trained(digits, AUTO, settings, checkpoint=kept[0])
    assert same(whole, resumed)
    assert history[-1].graphs == "2 of 6 steps replayed"


@pytest.mark.usefixtures("_tapes")
def test_steps_that_change_masks_are_not_replayed(digits: datasets.Dataset) -> None:
    growth = Growth(drop_share=0.3, update_every=5, stop_growing=0.9)
    rule = Rule(growth, by_gradient, replaces_step=True)
    settings = {"objective": "pgd", "averaging": "ema"}
    plain, _ = trained(digits, FUSED, settings, rule=rule)
    replayed, history = trained(digits, AUTO, settings, rule=rule)
    assert same(plain, replayed)
    assert history[-1].graphs == "4 of 6 steps replayed"


def test_what_cannot_be_captured_is_made_as_it_is_and_says_why(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"objective": "pgd", "averaging": "ema"}
    plain, _ = trained(digits, FUSED, settings)
    cpu, history = trained(digits, AUTO, settings)
    assert same(plain, cpu)
    assert history[0].graphs == "0 of 6 steps replayed: only a GPU has graphs"
    monkeypatch.setattr(loop, "reason_against", lambda *_: None)

    def refuse(step: Step, positions: Tensor) -> Callable[[], None]:
        step(positions)  # whatever it leaves behind
        raise graphs.CaptureError("operation not permitted")

    monkeypatch.setattr(graphs, "captured", refuse)
    failed, history = trained(digits, AUTO, settings)
    assert same(plain, failed)
    assert history[1].graphs == (
        "0 of 6 steps replayed: a step cannot be captured: operation not permitted"
    )


def test_a_network_that_the_host_looks_at_is_noticed(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "reason_against", lambda *_: None)
    for looking, operation in (
        (lambda found: found * (1 if found.mean() > 0 else 2), "_local_scalar_dense"),
        (lambda found: found * float(len(found[found > 0])), "aten.index.Tensor"),
    ):

        class Looking(Small):
            def forward(self, images: Tensor, change: Any = looking) -> Tensor:
                return change(super().forward(images))

        training = recipe(epochs=1, batch_size=16)
        (epoch,) = loop.fit(Looking(), few(digits, 84), training, None, "k", compute=AUTO)
        assert f"the host waits for aten.{operation.removeprefix('aten.')}" in str(epoch.graphs)
        assert str(epoch.graphs).startswith("0 of 6 steps replayed")


def test_reasons_that_are_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text("def own(network, images, labels, context): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    gpu = torch.device("cuda")
    assert graphs.reason_against("awp:pgd", gpu, False) is None
    assert "is not built in" in str(graphs.reason_against("awp:own_losses:own", gpu, False))
    assert "scores" in str(graphs.reason_against("pgd", gpu, True))
    with pytest.raises(ValueError, match="graphs: auto needs fused: true"):
        Compute(graphs="auto")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("works", [True, False])
def test_a_capture_is_made_as_torch_asks(
    works: bool, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stand-ins for the graph: both generators registered, and the optimizer capturable."""
    seen: dict[str, Any] = {"generators": []}

    class Graph:
        def register_generator_state(self, generator: torch.Generator) -> None:
            seen["generators"].append(generator)

        def replay(self) -> None:
            seen["replayed"] = True

    @contextlib.contextmanager
    def capturing(graph: Graph, **how: Any) -> Iterator[None]:
        seen.update(how, groups=[dict(group) for group in step.optimizer.param_groups])
        yield

    def made(step: Step, positions: Tensor) -> None:
        if not works:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(Step, "__call__", made)
    step = Step(Small(), images(8), recipe(optimizer=optimizer), None, FUSED, None, None)
    before = [dict(group) for group in step.optimizer.param_groups]
    if works:
        graphs.captured(step, torch.arange(4))()
        assert seen["replayed"]
    else:
        with pytest.raises(graphs.CaptureError, match=r"operation not .* capturing$"):
            graphs.captured(step, torch.arange(4))
    assert seen["generators"] == [*step.generators.values()]
    assert seen["capture_error_mode"] == "thread_local"
    assert all(group["capturable"] for group in seen["groups"])
    assert [dict(group) for group in step.optimizer.param_groups] == before
