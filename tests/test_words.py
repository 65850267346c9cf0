"""Numbers as a reader sees them."""

from __future__ import annotations

from results.statistics.design.words import number, percent


def test_numbers_in_words() -> None:
    assert percent(0.543) == "54 %"
    assert percent(-0.001) == "0 %"
    assert percent(-0.043, 1) == "\N{MINUS SIGN}4.3 %"
    assert number(float("nan")) == "\N{EN DASH}"
