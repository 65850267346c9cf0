"""How figures look: one quiet style, and the same colour for the same factor everywhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same everywhere
    "font.size": 9,
    "text.color": "#333333",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": "#333333",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.direction": "out",
    "axes.grid": False,
    "lines.linewidth": 1.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.hashsalt": "mrsweep",
    "pdf.fonttype": 42,
}


def styled() -> AbstractContextManager[None]:
    """Draw in the project's style, whatever the user's matplotlibrc says."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type]  # matplotlib lists its keys as literals


# Okabe and Ito (2008): told apart by colour-blind readers, and in print.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GREY = "#CC79A7", "#56B4E9", "#222222", "#9A9A9A"
INK, FAINT = "#333333", "#BBBBBB"
"""Of words, and of what is to stay behind the data."""
FACTOR_COLOURS = {
    "finetuning": BLUE,
    "criterion": VERMILION,
    "sparsity": BLACK,
    "allocation": GREEN,
    "architecture": PURPLE,
    "dense": SKY,
    "granularity": ORANGE,
    # The parts of fine-tuning.
    "objective": "#0B4F8A",
    "policy": "#6A3D9A",
    "epochs": "#8C6D00",
    "lr": "#A6404F",
}
LEVEL_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
LEVEL_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
"""A second mark of a level besides its colour, for print in black and white."""


def term_colour(term: str) -> str:
    """Return a main effect's own colour, and grey for an interaction."""
    return FACTOR_COLOURS.get(term, GREY)
