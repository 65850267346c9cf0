"""BatchNorm recalibration: the pruned network's own statistics, and nothing trained."""

from __future__ import annotations

import copy
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from orchestrator.sweepfile.model import SweepFileError, parse_sweep
from prune_core.data import datasets
from prune_core.training import policies
from prune_core.training.policies import Start, recalibrate

from conftest import run_sweep, sweep_text
from test_launch import trials


def test_statistics_are_those_of_the_clean_training_images(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    network = copy.deepcopy(trained)
    stem, norm = network.get_submodule("network.conv"), network.get_submodule("network.bn")
    with torch.no_grad():
        stem.weight.mul_(2.0)
    batches = [images for images, _ in digits.train.batches(100)]
    recalibrate(network, Start(0, images=batches))
    seen: list[torch.Tensor] = []
    with stem.register_forward_hook(lambda _l, _i, out: seen.append(out)), torch.no_grad():
        for images in batches:
            network.eval()(images)
    means = torch.stack([out.mean((0, 2, 3)) for out in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
    parameters = dict(network.named_parameters())
    for name, parameter in trained.named_parameters():
        if name != "network.conv.weight":
            assert torch.equal(parameters[name], parameter)


def test_a_level_that_trains_nothing_has_a_row_of_its_own(tmp_path: Path) -> None:
    text = sweep_text(
        criteria="[l1]", seeds="1", sparsities="[0.7]",
        finetuning="{none: {epochs: 0}, again: {policy: recalibrate, epochs: 0}}",
    )  # fmt: skip
    run_sweep(text, tmp_path)
    found = trials(tmp_path).set_index("policy")
    assert found["status"].tolist() == ["done", "done"]
    assert found.loc["recalibrate", "epochs"] == 0
    assert found["pruned_clean"].nunique() == 1
    assert found.loc["none", "finetuned_clean"] == found.loc["none", "pruned_clean"]
    assert found.loc["recalibrate", "finetuned_clean"] > found.loc["none", "finetuned_clean"] + 0.1
    assert pd.isna(found.loc["recalibrate", "flags"])


def test_a_last_batch_of_one_image_joins_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm cannot normalise a single value."""
    seen: list[int] = []

    def see(network: nn.Module, start: Start) -> None:
        seen.extend(map(len, start.images))

    monkeypatch.setattr(policies, "recalibrate", see)
    text = sweep_text(
        criteria="[l1]", seeds="1", sparsities="[0.7]", dense="{epochs: 1, objective: standard}",
        finetuning="{again: {policy: recalibrate, epochs: 0, batch_size: 359}}",
    )  # fmt: skip
    run_sweep(text, tmp_path)
    assert set(seen) == {360}  # all training images, and not 359 and one


def test_it_has_no_epochs() -> None:
    words = "none and recalibrate have 0 epochs, every other policy at least 1"
    for level in ("{policy: recalibrate, epochs: 2}", "{policy: finetune, epochs: 0}"):
        with pytest.raises(SweepFileError, match=words):
            parse_sweep(sweep_text(finetuning=f"{{level: {level}}}"))
