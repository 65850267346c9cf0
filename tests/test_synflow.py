"""SynFlow's rounds, against products of matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from prune_core.data.datasets import Dataset
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.scores.scoring import score
from prune_core.pruning.scores.synflow import removal_order

from conftest import scores_stage

Matrix = NDArray[np.float64]
LAYERS = ("1", "3", "5")


@pytest.fixture
def chain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 10)
    ).eval()


def shares(network: nn.Module, masks: list[Matrix]) -> list[Matrix]:
    """Every weight's share of the sum of logits: what comes in, times it, times what follows."""
    weights, biases = (
        [network.get_parameter(f"{name}.{kind}").detach().double().abs().numpy() for name in LAYERS]
        for kind in ("weight", "bias")
    )
    first, second, third = (weight * mask for weight, mask in zip(weights, masks, strict=True))
    made = first.sum(1) + biases[0]
    made_then, out = second @ made + biases[1], third.sum(0)
    return [(second.T @ out)[:, None] * first, out[:, None] * second * made, third * made_then]


def authors(network: nn.Module, keep: float, rounds: int) -> list[Matrix]:
    """The masks of their `prune_loop` with its exponential schedule, all layers ranked together."""
    found = [np.ones((6, 64)), np.ones((5, 6)), np.ones((10, 5))]
    for number in range(1, rounds + 1):
        scores = shares(network, found)
        every = np.sort(np.concatenate([part.ravel() for part in scores]))
        count = int((1 - keep ** (number / rounds)) * len(every))
        found = [(part > every[count - 1]).astype(float) for part in scores]
    return found


@pytest.mark.parametrize(("sparsity", "rounds"), [(0.9, 1), (0.9, 100), (0.97, 100)])
def test_the_ranking_holds_the_set_that_the_authors_keep(
    sparsity: float, rounds: int, chain: nn.Module
) -> None:
    modules = prunable_view(chain, (1, 8, 8), "weight").modules
    order = removal_order(chain, modules, (1, 8, 8), 1 - sparsity, rounds)
    masks = authors(chain, 1 - sparsity, rounds)
    kept = sum(int(mask.sum()) for mask in masks)
    threshold = torch.cat(list(order.values())).topk(kept).values[-1]
    for name, mask in zip(LAYERS, masks, strict=True):
        assert ((order[name] >= threshold).numpy() == mask.ravel().astype(bool)).all()


def test_channels_go_in_rounds_as_well(chain: nn.Module) -> None:
    """In each round the channel that carries least goes, until three are left."""
    modules = prunable_view(chain, (1, 8, 8), "channel").modules
    assert [(module.name, module.units) for module in modules] == [("1", 6), ("3", 5)]
    order = removal_order(chain, modules, (1, 8, 8), 3 / 11, 50)
    alive = {(name, unit) for name, units in (("1", 6), ("3", 5)) for unit in range(units)}
    gone: list[tuple[str, int]] = []
    while len(alive) > 3:
        masks = [np.ones((6, 64)), np.ones((5, 6)), np.ones((10, 5))]
        for name, unit in gone:
            masks[1 if name == "1" else 2][:, unit] = 0
        first, second, third = shares(chain, masks)
        paths = {"1": first.sum(1) + second.sum(0), "3": second.sum(1) + third.sum(0)}
        gone.append(min(alive, key=lambda each: paths[each[0]][each[1]]))
        alive.remove(gone[-1])
    places = {(name, unit): float(order[name][unit]) for name, unit in [*gone, *alive]}
    assert sorted(places, key=places.get)[:8] == gone


def test_rounds_go_to_the_sparsity_of_all_parameters(chain: nn.Module, digits: Dataset) -> None:
    """Biases stay, so more of the weights go."""
    stage = scores_stage("synflow-20", unit="weight", sparsity=0.9)
    modules = prunable_view(chain, digits.shape, "weight").modules
    found = score(chain, digits, modules, stage)
    expected = removal_order(chain, modules, digits.shape, 1 - 0.9 * (464 + 21) / 464, 20)
    for name, places in expected.items():
        torch.testing.assert_close(found[name], places.float())
