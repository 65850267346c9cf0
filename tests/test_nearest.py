"""Attacks of least distance: the distances, where they are kept, and what is made of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import results
from orchestrator.state.rows import evaluation_row
from prune_core.attacks import nearest
from prune_core.attacks.evaluation import evaluate, right
from prune_core.attacks.norms import NORMS
from prune_core.data import datasets
from prune_core.data.splits import Split
from prune_core.specs.settings import Threat
from prune_core.specs.stages import Evaluation
from results.errors import AnalysisError
from results.report.finding import Evidence
from results.report.findings.real import SECTION
from results.tables.distances import unpacked
from results.tables.storage import Storage

from conftest import dense_stage, run_sweep, sweep_text


class Planes(nn.Module):
    """Three classes, linear in the pixels: each image's distance to the next class is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 64, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weight.T

    def distances(self, images: torch.Tensor, norm: str) -> torch.Tensor:
        logits, dual = self(images), 1 if norm == "linf" else 2
        best = logits.argmax(1)
        gaps = logits.gather(1, best[:, None]) - logits
        slopes = torch.linalg.vector_norm(self.weight[best][:, None] - self.weight, dual, dim=2)
        return (gaps / slopes.clamp(min=1e-9)).scatter(1, best[:, None], math.inf).amin(1).detach()


def split(count: int = 64) -> Split:
    """Images in the middle of their range, right but for the first."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(76, 179, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = Planes()(pixels / 255).argmax(1)
    labels[0] = (labels[0] + 1) % 3
    return Split(pixels, labels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ["fmn-100", "ho-fmn-4"])
def test_distances_are_those_to_the_next_class(attack: str, norm: str) -> None:
    """Of a linear network they are known; what is within the radius is lost, and nothing else."""
    network, test = Planes().eval(), split()
    known = network.distances(test.batch(slice(None))[0], norm)
    threat = Threat(norm=norm, eps=float(known.median()))
    seen = evaluate(network, test, Evaluation(network=dense_stage(), attack=attack, threat=threat))
    assert seen.distances is not None
    found = torch.tensor(seen.distances)
    assert found[0] == 0
    assert not seen.correct[0]
    assert (found[1:] >= 0.999 * known[1:]).all()
    assert (found[1:] / known[1:]).median() < (1.01 if attack == "fmn-100" else 1.1)
    assert torch.equal(torch.tensor(seen.correct), found > threat.eps)


def test_what_is_never_misclassified_is_infinitely_far() -> None:
    class Sure(Planes):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * 1e-3 + torch.tensor([1.0, 0, 0])

    test = Split(torch.full((4, 1, 8, 8), 128, dtype=torch.uint8), torch.zeros(4).long())
    for attack in ("fmn-5", "ho-fmn-1"):
        stage = Evaluation(network=dense_stage(), attack=attack, threat=Threat(eps=1.0))
        seen = evaluate(Sure().eval(), test, stage)
        assert seen.distances == (math.inf,) * 4
        assert seen.accuracy == 1


def test_the_best_settings_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """More to choose from brings images no less near; the choice is the same each time."""
    for steps in ("STEPS", "TRIAL_STEPS"):
        monkeypatch.setattr(nearest, steps, 40)
    network, (images, labels) = Planes().eval(), split().batch(slice(1, 33))

    def median(trials: int) -> float:
        found = nearest.ho_fmn(network, images, labels, "linf", trials)
        return float(NORMS["linf"].length(found - images).median())

    assert median(8) <= median(1)
    assert median(3) == median(3)


def test_what_is_found_on_the_twin_is_misclassified_by_the_network(
    trained: nn.Module, digits: datasets.Dataset
) -> None:
    """At the boundary they differ by rounding: an image is only taken where it is clear of it."""
    test = digits.test.take(torch.arange(200))
    stage = Evaluation(network=dense_stage(), attack="fmn-50", threat=Threat(eps=0.1))
    seen = evaluate(trained, test, stage)
    assert seen.distances is not None
    assert all(math.isfinite(each) for each in seen.distances)
    clean = right(trained.eval(), *test.batch(slice(None)))
    assert [each == 0 for each in seen.distances] == (~clean).tolist()


def test_curves_come_from_the_rows(storage: Storage) -> None:
    run_sweep(
        sweep_text(
            dataset="{name: digits, per_class: 20, test_per_class: 5}", criteria="[l1]",
            finetuning="{none: {epochs: 0}}", seeds="1", dense="{epochs: 1}",
            evaluation="{attacks: [fmn-10, fgsm], sanity_images: 0}",
        ),
        storage.root,
    )  # fmt: skip
    tables = results.load(storage.root)
    row = tables.trials.iloc[0]
    curve = results.security_curves(tables, radii=[0, row["eps"], 10]).set_index("radius")
    assert set(curve["attack"]) == {"fmn-10"}
    assert curve["accuracy"].tolist() == pytest.approx(
        [row["finetuned_clean"], row["finetuned_fmn_10"], 0]
    )
    evidence = Evidence(tables, "finetuned_fmn_10", ("finetuned_fmn_10",), (), ())
    shown = next(each for each in SECTION.findings if each.name == "security_curves")
    drawn = shown.compute(evidence)
    own = drawn[(drawn["radius"] - row["eps"]).abs() < 1e-9]
    assert own["accuracy"].tolist() == pytest.approx([row["finetuned_fmn_10"]])
    assert shown.draw is not None
    figure = shown.draw(drawn, evidence, None)
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["digits, fmn-10"]
    whole = results.security_curves(tables, stage="dense", attack="fmn-10")
    assert len(whole) == 101
    assert whole["accuracy"].is_monotonic_decreasing
    assert whole["accuracy"].iloc[-1] == 0
    with pytest.raises(AnalysisError, match="no distances of finetuned networks: evaluate fmn-K"):
        results.security_curves(tables, attack="fgsm")


def test_a_row_packs_distances() -> None:
    stage = Evaluation(network=dense_stage(), attack="fmn-5", threat=Threat(eps=0.1))
    row = evaluation_row(stage, [True], 1.0, 1.0, (0.5, math.inf))
    assert np.array_equal(unpacked(row["distances"]), np.array([0.5, math.inf], np.float32))
    assert evaluation_row(stage, [True], 1.0, 1.0)["distances"] is None
