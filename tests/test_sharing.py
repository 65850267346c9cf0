"""What sweeps share in one storage root is computed once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.worker import evaluating

from conftest import run_sweep, sweep_text


def test_an_evaluation_that_two_sweeps_ask_for_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[str] = Counter()
    evaluate = evaluating.evaluate

    def counted(network, test, stage, twin):
        made[stage.key] += 1
        return evaluate(network, test, stage, twin)

    monkeypatch.setattr(evaluating, "evaluate", counted)
    few = {"criteria": "[l1]", "seeds": "1"}
    run_sweep(sweep_text(**few), tmp_path)
    before = set(made)
    more = "{attacks: [fgsm, pgd-1], sanity_images: 0}"
    run_sweep(sweep_text(**few, evaluation=more), tmp_path)
    assert set(made.values()) == {1}
    assert len(made) == len(before) * 3 // 2  # clean, fgsm; then pgd-1 as well
