"""The page in a browser: no error, filters that filter, nothing that overflows."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from results.report.explorer import explorer_data
from results.report.page import make_report
from results.report.summary import Summary, summarise

from simulated import simulated

CHROME = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
              None)  # fmt: skip
REQUIRED = os.environ.get("MRSWEEP_BROWSER") == "required"
browser = pytest.mark.skipif(CHROME is None and not REQUIRED, reason="no Chromium on this machine")
HARNESS = """<!doctype html><iframe id="page" style="width:{width}px;height:900px;border:0"
srcdoc="{page}"></iframe><pre id="found"></pre><script>
const frame = document.getElementById("page"), errors = [];
frame.contentWindow.addEventListener("error", event => errors.push(event.message));
frame.addEventListener("load", () => {{
  const view = frame.contentDocument, root = view.documentElement;
  const dots = () => view.querySelectorAll("#chart circle").length;
  const numbers = () => [...view.querySelectorAll("#numbers tr")].map(row =>
    [...row.cells].map(cell => cell.textContent).join("|"));
  const click = (name, value) =>
    [...view.querySelectorAll(`input[name=${{name}}]`)].find(box => box.value === value).click();
  const found = {{overflow: root.scrollWidth - root.clientWidth, errors, first: dots()}};
  found.said = view.getElementById("said").innerText;
  click("finetuning", "none");
  found.without = dots();
  found.numbers = numbers();
  const by = view.getElementById("by");
  by.value = "";
  by.dispatchEvent(new frame.contentWindow.Event("change"));
  found.alone = dots();
  const dot = view.querySelector("#chart circle");
  dot.focus();
  found.tip = view.getElementById("tip").innerText;
  found.label = dot.getAttribute("aria-label");
  for (const level of ["standard", "pgd"]) click("finetuning", level);
  found.empty = view.getElementById("said").innerText;
  found.wide = [...view.querySelectorAll("main *")].filter(node =>
    !node.closest(".scroll, svg, .skip, pre") &&
    node.getBoundingClientRect().right > root.clientWidth + 1).map(node => node.tagName);
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>"""


@pytest.fixture(scope="module")
def summary() -> Summary:
    return summarise(simulated())


@pytest.fixture(scope="module")
def files(summary: Summary) -> dict[str, bytes]:
    return make_report(summary, "simulated")


def visit(page: str, width: int, tmp_path: Path) -> dict[str, Any]:
    assert CHROME is not None, "no Chromium on this machine, and MRSWEEP_BROWSER is required"
    harness = tmp_path / "harness.html"
    harness.write_text(HARNESS.format(width=width, page=html.escape(page)))
    found = subprocess.run(
        [CHROME, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000",
         "--virtual-time-budget=5000", "--dump-dom", harness.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    written = re.search(r'<pre id="found">(.*?)</pre>', found.stdout, re.DOTALL)
    assert written is not None
    assert written[1]
    return dict(json.loads(html.unescape(written[1])))


@browser
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_in_a_browser(width: int, files: dict[str, bytes], tmp_path: Path) -> None:
    found = visit(files["index.html"].decode(), width, tmp_path)
    assert found["errors"] == []
    assert found["overflow"] <= 0
    assert found["wide"] == []
    assert found["first"] == 6  # two sparsities, three fine-tunings
    assert found["said"] == "216 trials shown."
    assert found["without"] == 4
    assert len(found["numbers"]) == 4
    assert not any("none" in row for row in found["numbers"])
    assert found["alone"] == 2
    assert found["tip"] == found["label"]
    assert re.search(r"sparsity 0.5: [\d.]+ points, 95 % interval .* 72 trials", found["label"])
    assert found["empty"] == "No trial is left: tick more levels."


@browser
def test_the_explorer_says_what_the_tables_say(
    summary: Summary, files: dict[str, bytes], tmp_path: Path
) -> None:
    page = files["index.html"].decode()
    found = visit(page, 1280, tmp_path)
    trials, metric = summary.evidence.trials, summary.evidence.metric
    trained = trials[trials["finetuning"] == "pgd"]
    mean = 100 * trained[trained["sparsity"] == 0.5][metric].mean()
    row = next(row for row in found["numbers"] if row.startswith("0.5|pgd|"))
    assert float(row.split("|")[2]) == pytest.approx(mean, abs=0.051)


def test_what_the_page_is_made_of(files: dict[str, bytes], summary: Summary) -> None:
    page = files["index.html"].decode()
    assert len(page) < 5_000_000
    assert page.count('<div class="slim">') == page.count('<div class="wide">') > 8
    assert not re.search(r'(?:src|href)="(?!#|figures/|tables/|data:)', page)
    assert "http" not in re.sub(r"http://www\.w3\.org/[^\"\s]+", "", page)
    identities = re.findall(r'\bid="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    named = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert named <= set(identities)
    # What scrolls can be reached by the keyboard, and says what it is (axe-core's rules).
    scrolls = re.findall(r'<div class="scroll"[^>]*>', page)
    assert len(scrolls) > 10
    assert all('tabindex="0" role="region" aria-label="' in scroll for scroll in scrolls)
    for name in ("level_effects", "without_each_level", "rank_flow", "pareto", "seed_spread"):
        assert f'<figure id="{name}"' in page
    for name in ("cost_of_choice", "rank_agreement", "pairwise", "pairwise_images"):
        assert f'id="table-{name}"' in page


def test_figures_are_larger_on_the_page_than_in_print(files: dict[str, bytes]) -> None:
    """Letters of 7 points are 9 pixels high."""
    printed = re.search(
        r'width="([\d.]+)pt" height="([\d.]+)pt"', files["figures/pareto.svg"].decode()
    )
    page = files["index.html"].decode()
    shown = re.search(r'id="pareto".*?width="([\d.]+)pt" height="([\d.]+)pt"', page, re.DOTALL)
    assert printed is not None
    assert shown is not None
    for one, other in zip(printed.groups(), shown.groups(), strict=True):
        assert float(other) == pytest.approx(1.2 * float(one), rel=1e-4)
    how_much, adaptive = page.index('id="size"'), page.index('id="adaptive"')
    assert how_much < page.index('<figure id="pareto"') < adaptive  # it is of no ratios


def test_a_design_too_large_to_embed_leaves_the_explorer_out(
    summary: Summary, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("results.report.explorer.MOST_VALUES", 300)
    data = explorer_data(summary.evidence.trials, summary.evidence.metrics)
    assert data is not None
    assert list(json.loads(data)["values"]) == [summary.evidence.metric]
    monkeypatch.setattr("results.report.explorer.MOST_VALUES", 100)
    assert explorer_data(summary.evidence.trials, summary.evidence.metrics) is None
    assert b"too many cells" in make_report(summary, "simulated")["index.html"]


def test_sweeps_are_set_side_by_side(summary: Summary, undrawn: None) -> None:
    files = make_report(summary, "mine", (("theirs", summary),))
    assert b"Beside other sweeps" in files["index.html"]
    lines = files["tables/compared.csv"].decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["sweep", "mine", "theirs", "mine", "theirs"]


def test_sweeps_without_a_verdict_are_not_set_side_by_side(undrawn: None) -> None:
    """There was a table of headings."""
    alone = summarise(simulated(seeds=1))
    page = make_report(alone, "mine", (("theirs", alone),))["index.html"].decode()
    assert 'id="table-compared"' not in page
    assert "None of these sweeps carries a verdict" in page


def test_what_is_missing_by_image_is_said() -> None:
    loaded = simulated()
    clean = loaded.evaluations[loaded.evaluations["attack"] == "clean"]
    loaded.__dict__["evaluations"] = clean
    summary = summarise(loaded)
    assert "pairwise_images" not in summary.tables
    assert summary.caveats == [
        "No comparison image by image: 216 networks have no outcomes of pgd_20 by image."
    ]
