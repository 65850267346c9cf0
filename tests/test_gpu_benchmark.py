"""The table of a GPU: where there is none it says so, and its rows are made anywhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    import gpu

    gpu.main()


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run(monkeypatch)
    assert capsys.readouterr().out == "no GPU\n"


def test_its_rows_are_measured_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    toy = ("--device", "cpu", "--toy", "--rows", str(file), "--only", "batch 4, exact")
    run(monkeypatch, *toy, "--minutes", "0")
    assert "2 rows are left: the same command goes on with them" in capsys.readouterr().out
    run(monkeypatch, *toy)
    first = capsys.readouterr().out
    assert "An epoch, a processor" in first
    assert "| resnet8, batch 4, exact, fastest kernels |" in first
    assert "| limit by peak (H100) | 1.5 |" in first
    assert len(file.read_text().splitlines()) == 2
    monkeypatch.setattr("gpu.fit", None)  # nothing is measured again
    run(monkeypatch, *toy, "--minutes", "0")
    assert capsys.readouterr().out == first
