"""Figures: each takes a tidy table and draws it; none computes a statistic."""

from results.report.figures.checks import check_figure
from results.report.figures.curves import curve_figure
from results.report.figures.forest import forest_figure
from results.report.figures.heat import heat_figure
from results.report.figures.modules import module_figure
from results.report.figures.pareto import pareto_figure
from results.report.figures.ranks import rank_figure
from results.report.figures.render import render
from results.report.figures.seeds import seed_figure
from results.report.figures.shares import share_figure

__all__ = [
    "check_figure",
    "curve_figure",
    "forest_figure",
    "heat_figure",
    "module_figure",
    "pareto_figure",
    "rank_figure",
    "render",
    "seed_figure",
    "share_figure",
]
