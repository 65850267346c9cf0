"""Layers that few networks have are scored, measured, masked, saved and counted as others are."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.state.artifacts import Artifacts
from prune_core.data.datasets import Dataset
from prune_core.models.folding import Twin, foldable
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.prunable.counting import count_macs, count_params
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prune import prune, rebuild
from prune_core.pruning.scores import learning
from prune_core.specs.registry import CRITERIA
from results.tables.storage import Storage

from conftest import pruned_stage, scored, scores_stage
from odd_networks import tied
from rows import names


class Odd(nn.Module):
    """Transposed and one-dimensional convolutions, an embedding, a BatchNorm of features."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.slopes = nn.Conv2d(1, 8, 3, 2, 1), nn.PReLU(8)
        self.up, self.norm = nn.ConvTranspose2d(8, 6, 2, 2), nn.InstanceNorm2d(6, affine=True)
        self.patches, self.places = nn.Conv2d(6, 8, 4, 4), nn.Embedding(4, 8)
        self.along = nn.Conv1d(8, 9, 3, padding=1)
        self.wide, self.features = nn.Linear(9, 12), nn.BatchNorm1d(12)
        self.logits = nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.up(self.slopes(self.down(images)))).relu()
        tokens = self.patches(maps).flatten(2) + self.places(torch.arange(4)).T
        joined = self.along(tokens.relu()).relu().mean(2)
        return self.logits(self.features(self.wide(joined)).relu())


@pytest.fixture(scope="module")
def odd() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Odd().eval()


@pytest.mark.parametrize("criterion", names("criteria"))
def test_every_criterion_scores_them(
    criterion: str, odd: nn.Module, digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "EPOCHS", 2)
    scores = scored(odd, digits, scores_stage(criterion))
    assert {name: len(of) for name, of in scores.items()} == {
        "down": 8, "up": 6, "patches": 8, "along": 9, "wide": 12,
    }  # fmt: skip
    for of in scores.values():
        assert of.isfinite().all()
        assert of.unique().numel() > 1 or "norms" in CRITERIA[criterion].needs


def test_a_pruned_transposed_network_comes_back_from_its_structure(
    odd: nn.Module, digits: Dataset
) -> None:
    network, again = copy.deepcopy(odd), copy.deepcopy(odd)
    scores = {m.name: torch.rand(m.units) for m in Channels(network, digits.shape).modules}
    structure, report = prune(network, digits.shape, pruned_stage(), scores)
    assert report.params_removed == pytest.approx(0.5, abs=0.02)
    rebuild(again, digits.shape, "channel", structure)
    again.load_state_dict(network.state_dict())
    images = digits.test.batch(slice(0, 8))[0]
    torch.testing.assert_close(again(images), network(images))


def test_places_of_a_transposed_convolution_are_those_of_its_input(odd: nn.Module) -> None:
    by_hand = {
        "down": 16 * 9 * 8, "up": 16 * 8 * 6 * 4, "patches": 4 * 16 * 6 * 8,
        "along": 4 * 3 * 8 * 9, "wide": 9 * 12, "logits": 12 * 10,
    }  # fmt: skip
    assert count_macs(odd, (1, 8, 8)) == sum(by_hand.values())


def test_a_tied_weight_is_counted_masked_and_saved_once(digits: Dataset, tmp_path: Path) -> None:
    network = tied(digits.shape, 10).eval()
    first, second = network.body[2], network.body[4]
    whole = sum(p.numel() for p in network.parameters())
    assert count_params(network) == whole
    assert count_macs(network, digits.shape) == 64 * (9 * 12 + 2 * 9 * 144 + 9 * 96) + 80
    modules = prunable_view(network, digits.shape, "weight").modules
    assert [m.name for m in modules] == ["body.0", "body.2", "body.5", "fc"]
    scores = {m.name: torch.rand(m.units) for m in modules}
    structure, report = prune(
        network, digits.shape, pruned_stage(granularity="weight", sparsity=0.6), scores
    )
    left = sum(int((p != 0).sum()) for p in network.parameters())
    assert count_params(network) == left == report.params
    assert first.weight is second.weight

    artifacts = Artifacts(Storage(str(tmp_path)))
    artifacts.save("prune", "k", "network.safetensors", dict(network.state_dict()), {})
    tensors, _ = artifacts.load("prune", "k", "network.safetensors")
    size = (tmp_path / "artifacts" / "prune" / "k" / "network.safetensors").stat().st_size
    assert size < 4 * whole + whole + 4096  # weights, masks and a header
    again = tied(digits.shape, 10).eval()
    rebuild(again, digits.shape, "weight", structure)
    again.load_state_dict(tensors)
    assert again.body[2].weight is again.body[4].weight
    images = digits.test.batch(slice(0, 8))[0]
    torch.testing.assert_close(again(images), network(images))


def test_a_tied_convolution_is_not_folded(digits: Dataset) -> None:
    """Folding would scale the other layer's weight too."""
    network = tied(digits.shape, 10)
    network.body.insert(3, nn.BatchNorm2d(12))
    network.eval()
    nn.init.uniform_(network.body[3].weight, 2, 3)
    assert foldable(network) == []
    images = digits.test.batch(slice(0, 8))[0]
    torch.testing.assert_close(Twin(network)(images), network(images), rtol=1e-4, atol=1e-5)
