"""Trainings on a GPU: replayed steps are the steps, and the same comes twice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from on_gpu import GPU, pruned, there
from test_graphs import CASES, FAST
from test_step import Small

from orchestrator.worker.device import give_back
from prune_core.data.datasets import Dataset
from prune_core.specs.compute import Compute
from prune_core.specs.recipes import Growth
from prune_core.training import graphs, loop
from prune_core.training.growth import Rule, by_gradient
from prune_core.training.history import Epoch

from conftest import THREAT, keeping
from rows import names
from test_training import RECIPES, few, recipe, same

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

pytestmark = pytest.mark.usefixtures("exact_kernels")

EXACT, FUSED = Compute(), Compute(fused=True)
AUTO = Compute(fused=True, graphs="auto")


@pytest.fixture(scope="module")
def data(digits: Dataset) -> Dataset:
    return few(there(digits), 84)


def trained(
    data: Dataset,
    compute: Compute,
    settings: dict[str, Any],
    granularity: str = "weight",
    **how: Any,
) -> tuple[torch.nn.Module, list[Epoch]]:
    training = recipe(**{"epochs": 2, "batch_size": 16, "attack_steps": 1, **settings})
    network = pruned(granularity)
    torch.manual_seed(0)
    teacher = Small().eval().to(GPU)
    threat = THREAT if training.adversarial else None
    history = loop.fit(
        network,
        data,
        training,
        threat,
        "k",
        compute=compute,
        teacher=teacher if training.taught else None,
        **how,
    )
    return network, history


COUNTS = {"pgd, averaged": (1, 5), "awp, warmed up": (2, 2), "awp:trades": (1, 5)}
"""Steps that are replayed in two epochs, where an average or AWP's warm-up begins in them."""
EVERY = [(case, "weight") for case in CASES] + [(name, "channel") for name in names("objectives")]


@pytest.mark.parametrize(("case", "granularity"), EVERY)
def test_a_replayed_training_is_the_training(case: str, granularity: str, data: Dataset) -> None:
    settings = CASES.get(case) or {"objective": case}
    plain, history = trained(data, FUSED, settings, granularity)
    replayed, again = trained(data, AUTO, settings, granularity)
    counts = COUNTS.get(case, (2, 5))
    assert [e.graphs for e in again] == [f"{count} of 6 steps replayed" for count in counts]
    assert [(e.loss, e.train_accuracy) for e in history] == [
        (e.loss, e.train_accuracy) for e in again
    ]
    assert same(plain, replayed)


@pytest.mark.parametrize("case", RECIPES)
def test_the_same_comes_twice_and_after_an_interruption(case: str, data: Dataset) -> None:
    for compute in (EXACT, AUTO):
        kept: list[Any] = []
        settings = {"epochs": 3, **RECIPES[case]}
        whole, _ = trained(data, compute, settings, on_epoch=keeping(kept))
        again, _ = trained(data, compute, settings)
        assert same(whole, again)
        resumed, _ = trained(data, compute, settings, checkpoint=kept[0])
        assert same(whole, resumed)


@pytest.mark.parametrize("case", CASES)
def test_under_the_fast_profile(case: str, data: Dataset) -> None:
    """Its kernels may differ from run to run, so it is near, not equal."""
    _, plain = trained(data, Compute(**FAST), CASES[case])
    _, replayed = trained(data, Compute(profile="fast"), CASES[case])
    assert "replayed" in str(replayed[-1].graphs)
    assert not str(replayed[-1].graphs).startswith("0 ")
    for one, other in zip(plain, replayed, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05)


def test_steps_that_change_masks_are_not_replayed(data: Dataset) -> None:
    growth = Growth(drop_share=0.3, update_every=5, stop_growing=0.9)
    rule = Rule(growth, by_gradient, replaces_step=True)
    settings = {"objective": "pgd", "averaging": "ema"}
    plain, _ = trained(data, FUSED, settings, rule=rule)
    replayed, history = trained(data, AUTO, settings, rule=rule)
    assert same(plain, replayed)
    assert history[-1].graphs == "4 of 6 steps replayed"


def test_a_capture_that_fails_leaves_nothing(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the device in the middle of it: the driver refuses, and the epoch is made again."""
    plain, _ = trained(data, FUSED, {"objective": "pgd"})
    step = graphs.Step.__call__

    def looking(self: graphs.Step, positions: torch.Tensor, *rest: Any) -> None:
        step(self, positions, *rest)
        if torch.cuda.is_current_stream_capturing():
            float(self.loss)

    with monkeypatch.context() as patched:
        patched.setattr(graphs.Step, "__call__", looking)
        failed, history = trained(data, AUTO, {"objective": "pgd"})
    assert "a step cannot be captured" in str(history[-1].graphs)
    assert same(plain, failed)
    replayed, history = trained(data, AUTO, {"objective": "pgd"})
    assert history[-1].graphs == "5 of 6 steps replayed"
    assert same(plain, replayed)


def test_memory_of_graphs_is_given_back(data: Dataset) -> None:
    give_back("cuda")
    trained(data, AUTO, {"objective": "pgd"})
    give_back("cuda")
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        trained(data, AUTO, {"objective": "pgd"})
    give_back("cuda")
    assert torch.cuda.memory_reserved() <= before + 2**21
