"""The report: whole, self-contained, the same bytes for the same tables."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

import results
from results.errors import AnalysisError, StorageError
from results.report.findings import SECTIONS
from results.report.formats import markdown
from results.report.judged import shared_networks
from results.report.page import make_report
from results.report.summary import Summary, summarise

from conftest import CHECKED, run_sweep, sweep_text
from simulated import crossed, simulated

# At half of the parameters the cells of so small a sweep do not differ by more than noise.
TEXT = sweep_text(
    dataset="{name: digits, per_class: 40, test_per_class: 30}",
    sparsities="[0.3]",
    allocations="[uniform, mrs]",
    seeds="3",
    sensitivity="{samples: 64, attack_steps: 2}",
    evaluation=CHECKED,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    run_sweep(TEXT, root)
    return root


@pytest.fixture(scope="module")
def summary(root: Path) -> Summary:
    return summarise(results.load(str(root), sweep="tiny"))


@pytest.fixture(scope="module")
def files(summary: Summary) -> dict[str, bytes]:
    return make_report(summary, "tiny")


def test_it_counts_and_decides(summary: Summary) -> None:
    assert (summary.planned, summary.done, summary.failed, summary.missing) == (24, 24, 0, 0)
    assert summary.evidence.metric == "finetuned_fgsm"
    assert [v.metric for v in summary.verdicts] == ["finetuned_fgsm", "finetuned_clean"]
    assert summary.caveats == []


def test_every_figure_has_its_images_and_its_numbers(files: dict[str, bytes]) -> None:
    drawn = {name.rpartition(".")[0] for name in files if name.startswith("figures/")}
    expected = ("variance_shares", "level_effects", "criterion_by_finetuning", "modules")
    assert drawn >= {f"figures/{name}" for name in expected}
    for name in drawn:
        assert files[f"{name}.svg"].startswith(b"<?xml")
        assert files[f"{name}.pdf"].startswith(b"%PDF")
        assert files[f"{name}.png"].startswith(b"\x89PNG")
        assert len(pd.read_csv(io.BytesIO(files[f"{name}.csv"]))) >= 2


def test_tables_come_in_three_forms(files: dict[str, bytes]) -> None:
    names = {n.rpartition(".")[0] for n in files if n.startswith("tables/")}
    assert {"tables/decomposition_finetuned_fgsm", "tables/adaptive_ratios"} <= names
    for name in names:
        assert files[f"{name}.md"].startswith(b"| ")
        assert b"\\begin{tabular}" in files[f"{name}.tex"]
        assert len(pd.read_csv(io.BytesIO(files[f"{name}.csv"])))


def test_the_page_needs_nothing_else_and_says_the_verdict(
    files: dict[str, bytes], summary: Summary
) -> None:
    page = files["index.html"].decode()
    assert summary.verdicts[0].sentence in page.replace("\N{NO-BREAK SPACE}", " ")
    assert page.count("<figure id=") == len({n for n in files if n.endswith(".svg")}) >= 8


def test_every_check_is_of_all_networks(summary: Summary) -> None:
    assert summary.tables["sanity_checks"]["networks"].tolist() == [24] * 5


def test_crossed_parts_of_fine_tuning_are_told_apart(undrawn: None) -> None:
    summary = summarise(crossed())
    metrics = ["finetuned_pgd_20", "finetuned_clean"]
    assert [part.metric for part in summary.parts] == metrics
    assert summary.evidence.crossed == ("objective", "policy")
    assert summary.evidence.by_parts
    report = make_report(summary, "crossed")
    page = report["index.html"].decode().replace("\N{NO-BREAK SPACE}", " ").replace("&#39;", "'")
    assert all(part.sentence in page for part in summary.parts)
    assert "Which part of fine-tuning" in page
    assert 'id="criterion_by_finetuning"' not in page  # ten levels: the parts are shown instead
    for name in ("finetuning_parts", "parts_crossed"):
        assert len(pd.read_csv(io.BytesIO(report[f"figures/{name}.csv"]))) >= 3
    table = summary.tables["accuracy_by_sparsity"]
    assert set(table["factor"]) == {"criterion", "objective", "policy"}


def test_a_sweep_without_checks_says_so() -> None:
    tables = simulated(seeds=1)
    tables.__dict__["checks"] = tables.checks.iloc[:0]
    summary = summarise(tables)
    assert any("checked for false robustness" in caveat for caveat in summary.caveats)


def test_cells_that_share_a_pruned_network_are_named() -> None:
    """Both fine-tunings of a pruned network are one of it; networks of another seed are others."""
    trials = simulated(seeds=2).trials
    trials["kept_units"] = trials["pruned_network"]
    assert not list(shared_networks(trials))
    cell = {"architecture": "vgg8", "criterion": "l1", "sparsity": 0.8}
    here = (trials[list(cell)] == pd.Series(cell)).all(axis=1)
    trials.loc[here, "kept_units"] = "both"
    (said,) = shared_networks(trials)
    assert said == (
        "4 pruned networks are those of other cells too (trials.kept_units), such as with "
        "allocation mrs and with allocation uniform: between these no difference can come from "
        "the pruning."
    )
    trials.loc[here & (trials["allocation"] == "mrs"), "rounds"] = 2  # trained between the rounds
    assert not list(shared_networks(trials))


def test_findings_have_names_of_their_own_and_are_shown_with_a_caption() -> None:
    findings = [finding for section in SECTIONS for finding in section.findings]
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert bool(finding.draw) == bool(finding.caption)
        assert bool(finding.columns) == bool(finding.table_caption)


def test_the_same_tables_give_the_same_bytes(root: Path, files: dict[str, bytes]) -> None:
    again = make_report(summarise(results.load(str(root), sweep="tiny")), "tiny")
    assert again == files


def test_what_users_write_is_escaped(root: Path, undrawn: None) -> None:
    tables = results.load(str(root), sweep="tiny")
    tables.trials.loc[0, ["status", "error"]] = ["failed", "<b>bad</b> & worse"]
    page = make_report(summarise(tables), "tiny")["index.html"].decode()
    assert "<b>bad</b>" not in page
    assert "&lt;b&gt;bad&lt;/b&gt; &amp; worse" in page
    assert "1 failed" in page


def test_a_sweep_in_the_middle_says_so(root: Path, tmp_path: Path, undrawn: None) -> None:
    shutil.copytree(root, tmp_path / "part")
    (file,) = (tmp_path / "part/tables/trials").glob("*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.slice(5), file)
    summary = summarise(results.load(str(tmp_path / "part"), sweep="tiny"))
    assert summary.missing == 5
    assert "The sweep is not complete: planned trials that have not run yet: 5." in summary.caveats
    page = make_report(summary, "part")["index.html"].decode()
    answer = re.search('<p class="answer">(.*?)</p>', page)
    assert answer is not None
    assert answer[1].startswith("So far, ")


def test_one_seed_carries_no_verdict_but_a_report(undrawn: None) -> None:
    summary = summarise(simulated(seeds=1))
    assert summary.verdicts == ()
    assert any("it takes at least 3 seeds, and there is 1" in caveat for caveat in summary.caveats)
    page = make_report(summary, "tiny")["index.html"].decode()
    assert "These data carry no verdict: it takes at least 3 seeds, and there is 1." in page
    assert "with 95 % intervals" not in re.sub(r"<svg id=.chart.[^>]*>", "", page)
    assert "<dt>seeds</dt><dd>1 (0)</dd>" in page  # "seeds 0" reads as none
    assert "digits, 200 test images" in page
    assert 0 not in list(summary.tables["rank_agreement"]["pairs"])


def test_nothing_done_is_a_clear_error(root: Path) -> None:
    tables = results.load(str(root), sweep="tiny")
    tables.trials["status"] = "failed"
    with pytest.raises(AnalysisError, match=r"no trial is done \(24 failed, 0 not run yet\)"):
        summarise(tables)


def test_loading_what_is_not_there(tmp_path: Path, root: Path) -> None:
    with pytest.raises(StorageError, match="run a sweep with --storage"):
        results.load(str(tmp_path))
    with pytest.raises(StorageError, match=r"no sweep 'demo' in .*; there are: tiny"):
        results.load(str(root), sweep="demo")


def test_an_unknown_metric_names_the_known(root: Path) -> None:
    with pytest.raises(AnalysisError, match="there are: finetuned_clean, finetuned_fgsm"):
        summarise(results.load(str(root), sweep="tiny"), "finetuned_cw")


def test_markdown() -> None:
    table = pd.DataFrame({"a": ["x|y", "z"], "b": [0.5, float("nan")]})
    assert markdown(table) == "| a | b |\n| --- | --- |\n| x\\|y | 0.500 |\n| z |  |\n"
