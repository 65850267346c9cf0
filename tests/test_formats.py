"""Tables as files: no digit is lost that a reader may need."""

from __future__ import annotations

import io

import pandas as pd

from results.report.formats import table_files


def test_csv_keeps_six_digits_and_the_others_three_decimals() -> None:
    table = pd.DataFrame({"level": ["l1|l2", "random"], "share": [0.123456, None]})
    files = table_files(table)
    read = pd.read_csv(io.BytesIO(files["csv"]))
    assert read["share"].tolist()[0] == 0.123456
    assert files["md"].decode().splitlines()[2:] == ["| l1\\|l2 | 0.123 |", "| random |  |"]
    assert "0.123" in files["csv"].decode()


def test_latex_is_as_papers_print_it() -> None:
    table = pd.DataFrame({
        "factor": ["finetuning", "criterion"], "level": ["pgd_7", "l1"], "effect": [1.5, -0.25],
        "low": [1.0, -1.0], "high": [2.0, 0.125], "seeds": [3, 3],
    })  # fmt: skip
    lines = table_files(table)["tex"].decode().splitlines()
    assert lines[:2] == [r"\begin{tabular}{llrr}", r"\toprule"]
    assert lines[2] == r"{factor} & {level} & {effect} & {seeds} \\"
    assert lines[4] == r"fine-tuning & pgd\_7 & $\num{1.5} \pm \num{0.5}$ & 3 \\"
    assert lines[5] == r"criterion & l1 & \num{-0.2} [\num{-1.0}, \num{0.1}] & 3 \\"
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


def test_latex_has_points_as_points_where_a_table_has_shares_too() -> None:
    """They were multiplied by a hundred."""
    table = pd.DataFrame({
        "estimand": ["main effects", "worst choice"],
        "unit": ["share of the variance", "accuracy points"], "finetuning": [0.5, 33.8],
        "difference": [0.25, 30.5], "low": [0.125, 25.0], "high": [0.375, 36.0],
    })  # fmt: skip
    lines = table_files(table)["tex"].decode().splitlines()
    assert lines[2] == r"{estimand} & {unit} & {fine-tuning} & {difference} \\"
    assert lines[4].endswith(r"& 50 & $\num{25.0} \pm \num{12.5}$ \\")
    assert lines[5].endswith(r"& 33.8 & $\num{30.5} \pm \num{5.5}$ \\")
