"""Growth: masks that change in a training; every layer keeps as many weights as before."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_masked_networks import random_masks
from torch import Tensor, nn

from orchestrator.planning.plan import make_plan
from orchestrator.state.artifacts import Artifacts
from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.masks import mask_of, masked
from prune_core.specs.recipes import Growth, Training
from prune_core.specs.registry import POLICIES
from prune_core.specs.stage import NETWORK
from prune_core.training.growth import Rewiring, Rule, dropped_share, rewired
from prune_core.training.history import Checkpoint
from prune_core.training.loop import fit
from prune_core.training.policies import Start
from results.tables.load import load
from results.tables.storage import Storage

from conftest import blank, keeping, run_sweep, sweep_text
from test_training import few, same

GROWING = ("rigl", "flying-bird")
OFTEN = Growth(drop_share=0.5, update_every=2, stop_growing=1.0)


def rule(policy: str, growth: Growth = OFTEN) -> Rule:
    found = POLICIES.load(policy)(nn.Identity(), Start(0, growth=growth))
    assert isinstance(found, Rule)
    return found


def masks(network: nn.Module) -> list[Tensor]:
    return [mask_of(layer).clone() for layer in masked(network)]


def equal(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture
def pruned(digits: Dataset) -> nn.Module:
    network = blank(digits)
    random_masks(network, digits)
    return network


@given(seed=st.integers(0, 99), size=st.integers(1, 12), share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_the_smallest_go_and_the_highest_grow(seed: int, size: int, share: float) -> None:
    """Against one weight at a time; values of few kinds, so that there are ties."""
    draw = torch.Generator().manual_seed(seed)
    mask = torch.rand(size, generator=draw) < 0.6
    weight = (torch.randn(size, generator=draw) * 2).round() * mask
    scores = torch.randint(0, 4, (size,), generator=draw).float()
    count = int(share * int(mask.sum()))
    kept = {i for i in range(size) if mask[i]}
    for _ in range(count):
        kept.remove(max(kept, key=lambda i: (-abs(float(weight[i])), i)))
    for _ in range(count):
        kept.add(max(set(range(size)) - kept, key=lambda i: (float(scores[i]), -i)))
    after = rewired(weight[:, None], mask[:, None], scores[:, None], count)
    assert after.shape == (size, 1)
    assert {i for i in range(size) if after[i, 0]} == kept


@pytest.mark.parametrize(
    ("policy", "shares"),
    [("rigl", [0.5, 0.25, 0.0]), ("flying-bird", [0.5, 0.2525, 0.005])],
)
def test_the_share_that_is_dropped_falls_as_a_cosine(policy: str, shares: list[float]) -> None:
    found = [dropped_share(rule(policy), behind) for behind in (0, 0.5, 1)]
    assert found == pytest.approx(shares)


def test_masks_change_until_they_stop() -> None:
    growth = Growth(drop_share=0.3, update_every=4, stop_growing=0.8)
    optimizer = torch.optim.SGD([torch.zeros(1)])
    rewiring = Rewiring(nn.Identity(), optimizer, rule("rigl", growth), 20, "k")
    assert [step for step in range(1, 21) if rewiring.due(step)] == [4, 8, 12]
    words = "every 4 steps in the first 4 of the training's 5, so they never would"
    with pytest.raises(ValueError, match=words):
        Rewiring(nn.Identity(), optimizer, rule("rigl", growth), 5, "k")


@pytest.mark.parametrize("policy", GROWING)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_what_grows_starts_at_zero_without_momentum(
    policy: str, optimizer: type[torch.optim.Optimizer]
) -> None:
    layer = nn.Linear(30, 20)
    layer.register_buffer("mask", torch.rand(20, 30) < 0.3)
    layer.weight.data *= layer.mask
    network, images = nn.Sequential(layer), torch.randn(8, 30)
    how = optimizer(network.parameters(), lr=0.01, **(
        {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    ))  # fmt: skip
    for _ in range(2):
        how.zero_grad()
        network(images).square().sum().backward()
        how.step()
        layer.weight.data *= layer.mask
    before, old = layer.mask.clone(), layer.weight.detach().clone()
    Rewiring(network, how, rule(policy), 100, "k").apply(2)
    new, gone, stayed = layer.mask & ~before, before & ~layer.mask, before & layer.mask
    assert int(new.sum()) == int(gone.sum()) > 20
    assert not layer.weight[~stayed].any()
    assert torch.equal(layer.weight[stayed], old[stayed])
    assert old[gone].abs().max() < old[stayed].abs().median()
    gradient = layer.weight.grad.abs()
    if policy == "rigl":
        assert gradient[new].min() >= gradient[~(before | layer.mask)].max()
    moments = [s for s in how.state[layer.weight].values() if s.shape == before.shape]
    assert moments
    for moment in moments:
        assert not moment[new].any()
        assert moment[stayed].all()


@pytest.mark.parametrize(("policy", "steps"), [("rigl", 4), ("flying-bird", 6)])
@pytest.mark.parametrize("averaging", ["none", "ema", "swa"])
def test_layers_keep_as_many_weights_through_a_training_and_its_averages(
    policy: str, steps: int, averaging: str, pruned: nn.Module, digits: Dataset
) -> None:
    """Two epochs of three steps, the second and the fourth of which change masks."""
    before, kept = masks(pruned), list[Checkpoint]()
    recipe = Training(
        epochs=2, lr=0.01, optimizer="adamw", averaging=averaging, swa_start=0.1, ema_decay=0.9
    )
    fit(pruned, few(digits), recipe, None, "k", on_epoch=keeping(kept), rule=rule(policy))
    after = masks(pruned)
    assert not equal(before, after)
    assert [int(m.sum()) for m in before] == [int(m.sum()) for m in after]
    for layer in masked(pruned):
        weight, mask = layer.get_parameter("weight"), mask_of(layer)
        assert not weight[~mask].any()
        assert (weight[mask] != 0).float().mean() > 0.9
    taken = next(t for n, t in kept[-1].tensors.items() if n.endswith("conv.weight.step"))
    assert int(taken) == steps


@pytest.mark.parametrize("policy", GROWING)
def test_a_resumed_growth_is_the_uninterrupted_one_to_the_bit(
    policy: str, pruned: nn.Module, digits: Dataset
) -> None:
    again, kept = copy.deepcopy(pruned), list[Checkpoint]()
    recipe = Training(epochs=3, lr=0.05, averaging="ema", selection="validation")
    fit(pruned, few(digits), recipe, None, "k", on_epoch=keeping(kept), rule=rule(policy))
    fit(again, few(digits), recipe, None, "k", kept[1], rule=rule(policy))
    assert same(pruned, again)
    changed = [
        [t for n, t in checkpoint.tensors.items() if n.startswith("network.") and "mask" in n]
        for checkpoint in kept
    ]
    assert not equal(changed[0], changed[1])  # at the fourth step; the second was before
    assert not equal(changed[1], changed[2])  # at the eighth, after the checkpoint


LEVELS = """{none: {epochs: 0}, rigl: {policy: rigl, epochs: 2, update_every: 2},
  bird: {policy: flying-bird, epochs: 2, update_every: 2, drop_share: 0.9},
  short: {policy: rigl, epochs: 1}}"""
GROWN = sweep_text(
    criteria="[l1]", seeds="1", granularities="[weight]", finetuning=LEVELS.replace("\n", " "),
    keep="[finetune, prune]",
)  # fmt: skip


def test_rows_say_how_masks_changed_and_what_is_left(tmp_path: Path) -> None:
    run_sweep(GROWN, tmp_path)
    found = load(str(tmp_path)).trials.set_index("finetuning")
    assert found.pop("status").to_dict() == {
        "none": "done", "rigl": "done", "bird": "done", "short": "failed",
    }  # fmt: skip
    words = (
        "masks change every 100 steps in the first 2.25 of the training's 3, so they never would"
    )
    assert words in found.loc["short", "error"]
    found = found.drop("short")
    columns = ["drop_share", "update_every", "stop_growing"]
    assert found.loc["rigl", columns].tolist() == [0.3, 2, 0.75]
    assert found.loc["bird", columns].tolist() == [0.9, 2, 1.0]
    assert found.loc["none", columns].isna().all()
    assert found["params_removed"].tolist() == pytest.approx([0.5] * 3, abs=1e-3)
    artifacts = Artifacts(Storage(str(tmp_path)))
    [first] = set(found["pruned_network"])
    pruned, _ = artifacts.load("prune", first, NETWORK)
    for _, row in found.drop("none").iterrows():
        tensors, _ = artifacts.load("finetune", row["finetuned_network"], NETWORK)
        moved = [not torch.equal(t, pruned[n]) for n, t in tensors.items() if n.endswith("mask")]
        assert any(moved)
        trained = sum(
            int(tensors[n.replace("weight", "mask")].sum()) if t.dim() > 1 else t.numel()
            for n, t in tensors.items()
            if n.endswith(("weight", "bias"))
        )
        assert trained == row["params"]


@pytest.mark.parametrize("granularity", ["channel", "2:4"])
def test_single_weights_alone_can_grow(granularity: str) -> None:
    text = GROWN.replace("[weight]", f"['{granularity}']").replace("none: {epochs: 0}, ", "")
    with pytest.raises(SweepFileError) as refused:
        make_plan(parse_sweep(text))
    for level, policy in (("rigl", "rigl"), ("bird", "flying-bird")):
        assert (
            f"finetuning '{level}': policy '{policy}' drops and grows single weights wherever they "
            f"are, not the units of granularity '{granularity}'; exclude: "
            f"[{{finetuning: {level}, granularity: '{granularity}'}}]"
        ) in str(refused.value)


def test_levels_differ_in_what_their_policies_read_alone() -> None:
    level = "{all: {policy: [finetune, rigl], epochs: 2, drop_share: [0.1, 0.2], stop_growing: 1}}"
    sweep = parse_sweep(sweep_text(finetuning=level, granularities="[weight]"))
    assert list(sweep.finetuning) == ["all-finetune", "all-rigl-0.1", "all-rigl-0.2"]
    assert sweep.finetuning["all-finetune"].growth is None
    grown = sweep.finetuning["all-rigl-0.1"].growth
    assert grown == Growth(drop_share=0.1, update_every=100, stop_growing=1)
