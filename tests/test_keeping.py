"""What a sweep keeps of networks and scores, and what kept ones are good for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import torch

from orchestrator.worker.networks import load_network
from results.tables.storage import Storage
from results.tables.store import Tables

from conftest import run_sweep, sweep_text
from test_launch import trials


def test_networks_are_kept_or_dropped_as_the_file_says(tmp_path: Path, undisturbed: Path) -> None:
    def stored(root: Path) -> dict[str, int]:
        files = root.glob("artifacts/*/*/*.safetensors")
        return dict(Counter(file.parts[-3] for file in files))

    assert stored(undisturbed) == {"dense": 2, "prune": 4}
    run_sweep(sweep_text(keep="[finetune]"), tmp_path / "a")
    assert stored(tmp_path / "a") == {"finetune": 4}
    pd.testing.assert_frame_equal(trials(tmp_path / "a"), trials(undisturbed))
    key = trials(undisturbed).query("finetuning == 'standard'")["trial_id"].iloc[0]
    kept, again = (load_network(root, key, device="cpu") for root in (tmp_path / "a", undisturbed))
    for name, tensor in kept.state_dict().items():  # what was dropped is computed to the same bits
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_new_attack_on_kept_networks_trains_nothing(tmp_path: Path) -> None:
    text = sweep_text(keep="[dense, prune, finetune]", seeds="1")
    run_sweep(text, tmp_path)
    epochs = sorted(tmp_path.glob("tables/epochs/*"))
    told = run_sweep(text.replace("[fgsm]", "[fgsm, pgd-3]"), tmp_path)
    # Each evaluates its own network, once.
    assert Counter(kind for kind, _ in told.outcomes) == {"dense": 1, "prune": 2, "trial": 4}
    assert sorted(tmp_path.glob("tables/epochs/*")) == epochs
    attacks = Counter(Tables(Storage(str(tmp_path))).read("evaluations")["attack"])
    assert attacks == {"clean": 5, "fgsm": 5, "pgd-3": 5}


def test_masked_networks_that_are_kept_take_a_new_attack_without_training(tmp_path: Path) -> None:
    text = sweep_text(
        granularities="[weight]", criteria="[l1]", seeds="1", keep="[dense, finetune]"
    )
    run_sweep(text, tmp_path)
    first = trials(tmp_path)
    epochs = sorted(tmp_path.glob("tables/epochs/*"))
    run_sweep(text.replace("[fgsm]", "[pgd-3]"), tmp_path)
    again = trials(tmp_path).dropna(subset="finetuned_pgd_3")
    first, again = first.sort_values("finetuning"), again.sort_values("finetuning")
    assert sorted(tmp_path.glob("tables/epochs/*")) == epochs
    assert first["finetuned_clean"].tolist() == again["finetuned_clean"].tolist()
    assert first["params"].tolist() == again["params"].tolist()
    assert (first["params_removed"] - 0.5).abs().max() < 1e-4


def test_scores_are_dropped_with_their_last_pruning_unless_kept(tmp_path: Path) -> None:
    text = sweep_text(criteria="[taylor, l1]", seeds="1")
    run_sweep(text, tmp_path / "kept")
    assert len(list((tmp_path / "kept").glob("artifacts/scores/*/*"))) == 1  # l1's cost nothing
    run_sweep(text + "\nkeep: [dense, prune]", tmp_path / "dropped")
    assert not list((tmp_path / "dropped").glob("artifacts/scores/*/*"))
    pd.testing.assert_frame_equal(trials(tmp_path / "dropped"), trials(tmp_path / "kept"))
