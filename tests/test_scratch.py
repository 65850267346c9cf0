"""Training from scratch: nothing that was learned is left, of parameters and buffers alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from orchestrator.planning.plan import make_plan
from orchestrator.state.artifacts import Artifacts
from orchestrator.sweepfile.model import parse_sweep
from orchestrator.worker import materialize
from prune_core.models import architectures
from prune_core.specs.keys import derive_seed
from prune_core.specs.stages import NETWORK, Finetuned, Trial
from results.tables.storage import Storage

from conftest import run_sweep, sweep_text

DATA = "{name: generated, size: 32, per_class: 5, test_per_class: 1, validation: 0.2}"


@pytest.mark.parametrize(
    ("architecture", "granularity"),
    [("resnet8", "weight"), ("vit-tiny", "channel"), ("outside:layer_scaled", "channel")],
)  # fmt: skip
def test_all_of_a_network_is_drawn_anew(
    architecture: str, granularity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: dict[str, dict[str, Tensor]] = {}
    fit = materialize.training.fit

    def noted(network: nn.Module, data: object, recipe: object, threat: object, key: str,
              *more: object, **named: object) -> object:  # fmt: skip
        begun[key] = {name: value.clone() for name, value in network.state_dict().items()}
        history = fit(network, data, recipe, threat, key, *more, **named)
        for value in network.state_dict().values():  # so that everything has been learned
            if value.is_floating_point():
                value.add_(0.123)
        return history

    monkeypatch.setattr(materialize.training, "fit", noted)
    text = sweep_text(
        dataset=DATA,
        architectures=f"['{architecture}']",
        criteria="[l1]",
        granularities=f"[{granularity}]",
        finetuning="{scratch: {objective: standard, policy: scratch, epochs: 1, lr: 0.01}}",
        dense="{objective: standard, epochs: 1, batch_size: 16, lr: 0.01}",
        seeds="1",
        keep="[dense]",
    )
    run_sweep(text, tmp_path)
    (job,) = make_plan(parse_sweep(text)).trials.values()
    assert isinstance(job.stage, Trial)
    stage = job.stage.network
    assert isinstance(stage, Finetuned)
    stored = Artifacts(Storage(str(tmp_path))).load("dense", job.stage.dense.key, NETWORK)
    assert stored is not None
    data = materialize.datasets.load(job.stage.dense.dataset, torch.device("cpu"))
    fresh = architectures.build(
        architecture, data.shape, data.classes, data.mean, data.std,
        derive_seed(stage.key, "policy"),
    ).state_dict()  # fmt: skip
    learned = 0
    for name, value in begun[stage.key].items():
        if name.endswith("mask") or not value.is_floating_point():
            continue
        drawn, kept = fresh[name], value[value != 0]
        assert torch.isin(kept, drawn).all(), name  # each a number of the network built anew
        varied = drawn.unique().numel() > 2
        learned += bool(varied and torch.isin(kept, stored[0][name]).float().mean() > 0.01)
    assert learned == 0
