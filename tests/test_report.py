"""The report: whole, self-contained, the same bytes for the same tables."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pandas as pd
import pytest

import results
from results.errors import AnalysisError, StorageError
from results.report.page import make_report, markdown
from results.report.summary import Summary, summarise

from conftest import run_sweep, sweep_text

TEXT = sweep_text(
    sparsities="[0.3, 0.7]",
    allocations="[uniform, mrs-few-step]",
    seeds="3",
    sensitivity="{samples: 64, attack_steps: 2}",
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
    assert (summary.planned, summary.done, summary.failed, summary.missing) == (48, 48, 0, 0)
    assert summary.headline == "finetuned_fgsm"
    assert [v.metric for v in summary.verdicts] == ["finetuned_fgsm", "finetuned_clean"]
    assert summary.caveats == []


FIGURES = ("variance_shares", "accuracy_by_sparsity", "criterion_by_finetuning", "modules")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_its_images_and_its_numbers(name: str, files: dict[str, bytes]) -> None:
    assert files[f"figures/{name}.svg"].startswith(b"<?xml")
    assert files[f"figures/{name}.pdf"].startswith(b"%PDF")
    assert files[f"figures/{name}.png"].startswith(b"\x89PNG")
    assert len(pd.read_csv(io.BytesIO(files[f"figures/{name}.csv"]))) >= 2


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


def test_crossed_parts_of_fine_tuning_are_told_apart(tmp_path: Path) -> None:
    grid = "{all: {objective: [standard, fgsm], policy: [finetune, scratch], epochs: 1, lr: 0.05}}"
    run_sweep(sweep_text(finetuning=grid, seeds="3"), tmp_path)
    found = summarise(results.load(str(tmp_path), sweep="tiny"))
    assert {part.metric for part in found.parts} == {"finetuned_fgsm", "finetuned_clean"}
    assert set(found.parts[0].parts) == {"objective", "policy"}
    report = make_report(found, "tiny")
    page = report["index.html"].decode().replace("\N{NO-BREAK SPACE}", " ")
    assert found.parts[0].sentence in page.replace("&#39;", "'")
    assert "Which part of fine-tuning" in page
    assert "Is the robustness real?" in page
    for name in ("finetuning_parts", "parts_crossed"):
        assert len(pd.read_csv(io.BytesIO(report[f"figures/{name}.csv"]))) >= 3
    checks = pd.read_csv(io.BytesIO(report["tables/sanity_checks.csv"]))
    assert checks["networks"].tolist() == [24] * 5


def test_a_sweep_without_checks_says_so(tmp_path: Path) -> None:
    run_sweep(sweep_text(seeds="1", evaluation="{attacks: [fgsm], sanity_images: 0}"), tmp_path)
    found = summarise(results.load(str(tmp_path), sweep="tiny"))
    assert any("checked for false robustness" in caveat for caveat in found.caveats)


def test_the_same_tables_give_the_same_bytes(root: Path, files: dict[str, bytes]) -> None:
    again = make_report(summarise(results.load(str(root), sweep="tiny")), "tiny")
    assert again == files


def test_what_users_write_is_escaped(tmp_path: Path, root: Path) -> None:
    trials = results.load(str(root), sweep="tiny")
    trials.trials.loc[0, ["status", "error"]] = ["failed", "<b>bad</b> & worse"]
    page = make_report(summarise(trials), "tiny")["index.html"].decode()
    assert "<b>bad</b>" not in page
    assert "&lt;b&gt;bad&lt;/b&gt; &amp; worse" in page
    assert "1 failed" in page


def test_a_sweep_in_the_middle_says_so(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "part")
    for file in sorted(tmp_path.glob("part/tables/trials/*"))[:5]:
        file.unlink()
    found = summarise(results.load(str(tmp_path / "part"), sweep="tiny"))
    assert found.missing == 5
    assert "5 planned trials have not run yet: the sweep is not complete." in found.caveats


def test_one_seed_carries_no_verdict_but_a_report(tmp_path: Path) -> None:
    run_sweep(sweep_text(seeds="1"), tmp_path)
    found = summarise(results.load(str(tmp_path), sweep="tiny"))
    assert found.verdicts == []
    assert any("with 1 of at least 3 seeds" in caveat for caveat in found.caveats)
    page = make_report(found, "tiny")["index.html"].decode()
    assert "carry no verdict yet" in page


def test_nothing_done_is_a_clear_error(tmp_path: Path) -> None:
    run_sweep(sweep_text(criteria="['outside:raises']", seeds="1"), tmp_path)
    with pytest.raises(AnalysisError, match=r"no trial is done \(2 failed, 0 not run yet\)"):
        summarise(results.load(str(tmp_path), sweep="tiny"))


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
