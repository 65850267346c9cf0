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
    assert "0.123 " in files["tex"].decode()
