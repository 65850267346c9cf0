"""A trial missing at one seed is filled in from its cell and from what the seed did elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from results.statistics.design import make_design


def test_a_filled_in_value_has_its_cell_s_mean_and_its_seed_s_shift() -> None:
    draw = np.random.default_rng(0)
    cells = list(itertools.product("ab", "xyz"))
    value = {(*cell, seed): draw.normal() for cell in cells for seed in range(4)}
    gone = ("b", "y", 2)
    rows = [
        {"criterion": one, "finetuning": two, "seed": seed, "finetuned_clean": number}
        for (one, two, seed), number in value.items()
        if (one, two, seed) != gone
    ]
    design = make_design(pd.DataFrame(rows), "finetuned_clean", ["criterion", "finetuning"])

    def mean(cell: tuple[str, str]) -> float:
        return float(np.mean([value[*cell, s] for s in range(4) if (*cell, s) != gone]))

    shifts = [value[*cell, 2] - mean(cell) for cell in cells if cell != ("b", "y")]
    assert design.values[1, 1, 2] == pytest.approx(mean(("b", "y")) + np.mean(shifts))
    assert design.values[0, 0, 0] == value["a", "x", 0]
