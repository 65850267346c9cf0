"""A point of the explorer opened: its trials, their learning curves, their networks' widths."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from chrome import CHROME, REQUIRED, browser_at

from results.report.drill import drill_data
from results.report.explorer import explorer_data
from results.report.finding import Evidence
from results.report.page import make_report
from results.report.summary import Summary

from simulated import simulated

browser = pytest.mark.skipif(CHROME is None and not REQUIRED, reason="no Chromium on this machine")


def trained(networks: pd.Series) -> pd.DataFrame:
    """Three epochs each; the first trial's accuracies are 10, 20 and 30 points, and so on."""
    return pd.DataFrame([
        {"network": network, "epoch": epoch, "validation_accuracy": 0.1 * epoch + number / 1000}
        for number, network in enumerate(networks) for epoch in (3, 1, 2)
    ])  # fmt: skip


def test_curves_and_widths_are_those_of_each_trial() -> None:
    slots = pd.DataFrame(
        {"finetuned_network": ["f1", None, "p2"], "pruned_network": ["p1", None, "p2"]}
    )
    modules = pd.DataFrame([
        {"network": network, "module": f"conv{place}", "position": place, "width_before": 16,
         "width_after": 16 - place - 4 * (network == "p2")}
        for network in ("p1", "p2", "other") for place in (1, 0)
    ])  # fmt: skip
    found = drill_data(slots, trained(pd.Series(["f1", "other"])), modules)
    assert found == {
        "curves": [[100, 200, 300]], "curve": [0, None, None],
        "kinds": [[["conv0", "conv1"], [16, 16]]],
        "nets": [[0, 16, 15], [0, 12, 11]], "net": [0, None, 1],
    }  # fmt: skip


def test_too_many_numbers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = simulated()
    epochs = trained(loaded.trials["finetuned_network"])
    whole = explorer_data(loaded.trials, ["finetuned_pgd_20"], epochs, loaded.modules)
    assert len(json.loads(whole)["drill"]["curve"]) == len(loaded.trials)
    monkeypatch.setattr("results.report.drill.MOST_NUMBERS", 10)
    small = explorer_data(loaded.trials, ["finetuned_pgd_20"], epochs, loaded.modules)
    assert "drill" not in json.loads(small)


@browser
def test_a_point_opens_by_key_and_a_trial_by_click(tmp_path: Path) -> None:
    loaded = simulated()
    few = (loaded.trials["allocation"] == "uniform") & (loaded.trials["architecture"] == "vgg8")
    loaded.__dict__["trials"] = trials = loaded.trials[few].reset_index(drop=True)
    of_pgd = trials.loc[trials["finetuning"] == "pgd", "finetuned_network"]
    loaded.__dict__["epochs"] = trained(of_pgd)
    page = tmp_path / "index.html"
    metric = "finetuned_pgd_20"
    summary = Summary(Evidence(loaded, metric, (metric,), (), ()), {}, [])
    page.write_bytes(make_report(summary, "simulated")["index.html"])
    with browser_at(page.as_uri(), tmp_path / "profile") as view:
        view.wait("document.querySelectorAll('#chart circle').length === 6")
        assert view.evaluate("document.getElementById('drill').hidden")
        enter = "new KeyboardEvent('keydown', {key: 'Enter', bubbles: true})"
        point = (
            "[...document.querySelectorAll('#chart circle')].find(c => "
            "c.getAttribute('aria-label').includes('0.5, fine-tuning pgd'))"
        )
        view.evaluate(f"{point}.focus()")
        view.evaluate(f"{point}.dispatchEvent({enter})")
        # Who has no mouse is taken to what was opened, and back to the point by Escape.
        assert view.evaluate("document.activeElement.id") == "opened"
        escape = "new KeyboardEvent('keydown', {key: 'Escape', bubbles: true})"
        view.evaluate(f"document.activeElement.dispatchEvent({escape})")
        assert view.evaluate("document.getElementById('drill').hidden")
        assert view.evaluate(f"document.activeElement === {point}")
        view.evaluate(f"{point}.dispatchEvent(new MouseEvent('mouseenter'))")
        assert not view.evaluate("document.getElementById('tip').hidden")
        view.evaluate(f"{point}.dispatchEvent({escape})")
        assert view.evaluate("document.getElementById('tip').hidden")
        view.evaluate(f"{point}.dispatchEvent({enter})")
        rows = "[...document.getElementById('trials').rows].map(r => r.innerText.split('\\t'))"
        found = view.evaluate(rows)
        mine = trials[(trials["finetuning"] == "pgd") & (trials["sparsity"] == 0.5)]
        best = mine.sort_values("finetuned_pgd_20", ascending=False)
        assert [row[0] for row in found] == [
            f"{100 * value:.1f}" for value in best["finetuned_pgd_20"]
        ]
        assert {(row[1], row[4]) for row in found} == {
            (row.criterion, str(row.seed)) for row in mine.itertuples()
        }
        assert view.evaluate("document.querySelectorAll('#curve polyline').length") == len(mine)
        view.evaluate("document.querySelectorAll('#trials button')[2].click()")
        named = view.evaluate("document.getElementById('trial').textContent")
        assert named == (
            f"criterion {found[2][1]}, sparsity 0.5, fine-tuning pgd, seed {found[2][4]}"
        )
        widths = view.evaluate("document.getElementById('widths').innerText")
        assert "conv0" in widths
        assert "of 16" in widths
        assert view.evaluate("document.querySelectorAll('#curve circle').length") == 3
        view.evaluate(point.replace("pgd'", "none'") + f".dispatchEvent({enter})")
        assert "no learning curve" in view.evaluate(
            "document.getElementById('curve-said').textContent"
        )
