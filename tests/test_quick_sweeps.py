"""The quick twins on real images: one trial of each, on few; skipped where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.sweepfile.model import read_sweep
from orchestrator.sweepfile.shipped import shipped_sweeps

from command import mrsweep

SHARED = Path(__file__).parents[2] / "shared" / "data"
QUICK = {"cifar10_quick": "cifar10", "tiny_imagenet_quick": "tiny-imagenet"}
FEW = (
    "dataset.size=8",
    "dataset.per_class=4",
    "dataset.validation=0.25",
    "dataset.test_per_class=1",
    "dense.epochs=1",
    "evaluation={attacks: [fgsm], sanity_images: 0}",
    "sparsities=[0.5]",
    "criteria=[l1]",
    "allocations=[uniform]",
)


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_twin_trains_and_attacks_real_images(name: str, tmp_path: Path) -> None:
    root = SHARED / QUICK[name]
    if not root.is_dir():
        pytest.skip(f"no real images in {root}")
    select = "finetuning=pgd,seed=0"
    words = ("--select", select, "--storage", tmp_path / "root", "--device", "cpu")
    file = shipped_sweeps()[name]
    ran = mrsweep("trial", file, f"dataset.root={root}", *FEW, *words)
    assert ran.returncode == 0, ran.stderr
    assert "finetuned_fgsm" in ran.stdout


@pytest.mark.parametrize("name", QUICK)
def test_a_twin_asks_what_the_whole_sweep_asks(name: str) -> None:
    """On the same data set, under the same threat, with factors that its twin has too."""
    quick, whole = (read_sweep(shipped_sweeps()[n]) for n in (name, name.removesuffix("_quick")))
    assert quick.dataset.name == whole.dataset.name
    assert quick.threat == whole.threat
    assert {"none", "standard", "pgd"} <= set(quick.finetuning) & set(whole.finetuning)
    assert "mrs" in set(quick.allocations) & set(whole.allocations)
