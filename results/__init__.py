"""What a sweep found: its tables, their analysis, figures and report. No torch, no ray.

>>> import results
>>> tables = results.load("runs", sweep="demo")      # doctest: +SKIP
>>> results.verdict(tables.trials, "finetuned_pgd_20").sentence      # doctest: +SKIP

Names are imported when they are first used: pandas alone takes half a second, and the command
line, which shares this package's storage, mostly needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.contrasts import level_means, paired_difference
    from results.decomposition import decompose
    from results.design import AnalysisError
    from results.effects import cost_of_choice, level_effects
    from results.loading import Loaded, load
    from results.outcomes import compare_outcomes
    from results.pairwise import compare_levels
    from results.pareto import pareto_front
    from results.ranks import rank_agreement, rank_flow
    from results.subfactors import parts
    from results.verdicts import Verdict, verdict

_HOME = {
    "contrasts": ("level_means", "paired_difference"),
    "decomposition": ("decompose",),
    "design": ("AnalysisError",),
    "effects": ("cost_of_choice", "level_effects"),
    "loading": ("Loaded", "load"),
    "outcomes": ("compare_outcomes",),
    "pairwise": ("compare_levels",),
    "pareto": ("pareto_front",),
    "ranks": ("rank_agreement", "rank_flow"),
    "subfactors": ("parts",),
    "verdicts": ("Verdict", "verdict"),
}

__all__ = [
    "AnalysisError",
    "Loaded",
    "Verdict",
    "compare_levels",
    "compare_outcomes",
    "cost_of_choice",
    "decompose",
    "level_effects",
    "level_means",
    "load",
    "paired_difference",
    "pareto_front",
    "parts",
    "rank_agreement",
    "rank_flow",
    "verdict",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"results.{module}"), name)
    raise AttributeError(f"module 'results' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
