"""How figures look: one quiet style, and the same colour for the same factor everywhere.

Every figure takes a ``width`` in inches; a column of a paper is `COLUMN` wide. Those of one panel
take the user's axes as well (``ax``), and then follow the user's matplotlibrc, not `STYLE`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "mrsweep",
    "pdf.fonttype": 42,
}


WIDE, COLUMN = 6.8, 3.25
"""Inches: of the page, and of a column of a paper."""
SLIM = 2.9
"""Inches: of a telephone's page, where a figure is shown a little larger than it is drawn."""
NARROW = 5.0
"""Inches; narrower figures have smaller letters, their labels in several lines, and their panels
one below the other."""
LETTERS = 17
"""Of a label's, to an inch."""


@contextmanager
def canvas(
    ax: Axes | None, width: float | None, height: float, usual: float = WIDE
) -> Iterator[Axes]:
    """Give axes to draw on: the user's as they are, or new ones in the project's style.

    Args:
        ax: the user's; None for new ones.
        width: of the new figure, in inches, within which all lies that is drawn; None for the page,
            where names stand beside a panel of the usual width.
        height: of the new figure, in inches.
        usual: the width on the page.
    """
    if ax is not None:
        yield ax
        return
    with styled(width or usual):
        size = (width or usual, height)
        figure = Figure(size) if width is None else Figure(size, layout="constrained")  # slower
        yield figure.subplots()


def figure_of(ax: Axes) -> Figure:
    """Return the figure that axes are in."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes have been removed from their figure")
    return figure


def fitted(label: str, ax: Axes, share: float = 1.0) -> str:
    """Return a label in as many lines as it takes to fit a share of the axes' figure."""
    return textwrap.fill(label, max(12, round(share * LETTERS * figure_of(ax).get_figwidth())))


def name_columns(axes: Axes, names: Sequence[str], share: float = 0.75) -> None:
    """Name what stands at 0, 1, ... along the x axis; names that do not fit are turned upright.

    Args:
        axes: to write below.
        names: one a place.
        share: of the figure's width, that the places have together.
    """
    room = share * LETTERS * figure_of(axes).get_figwidth() / len(names)
    fit = max(len(word) for name in names for word in name.split()) <= room
    shown = [textwrap.fill(name, max(1, int(room)), break_long_words=False) for name in names]
    axes.set_xticks(range(len(names)), shown if fit else names, rotation=0 if fit else 90)


def panelled(
    count: int, width: float, height: float, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of one scale: side by side, or stacked where it is narrow.

    Args:
        count: of the panels.
        width: of the figure, in inches.
        height: of a panel, in inches.
        ratios: the panels' widths where they stand side by side; all alike by default.
    """
    stacked = width < NARROW
    figure = Figure((width, height * (count if stacked else 1)), layout="constrained")
    shape = (count, 1) if stacked else (1, count)
    ratios = None if stacked else ratios
    grid = figure.subplots(*shape, sharey=True, squeeze=False, width_ratios=ratios)
    return figure, list(grid.flat)


def outer(axes: Sequence[Axes]) -> Sequence[Axes]:
    """Return the panels that say what their common scale is: all that begin a row."""
    return [one for one in axes if (spec := one.get_subplotspec()) and spec.is_first_col()]


def styled(width: float = WIDE) -> AbstractContextManager[None]:
    """Draw in the project's style, whatever the user's matplotlibrc says."""
    narrow = {"font.size": 7, "axes.titlesize": 8} if width < NARROW else {}
    return mpl.rc_context(STYLE | narrow)  # type: ignore[arg-type]  # matplotlib lists its keys as literals


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
