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
    from results.errors import AnalysisError
    from results.statistics.by_image import compare_outcomes
    from results.statistics.choices import best, curves
    from results.statistics.contrasts import level_means, paired_difference
    from results.statistics.decomposition import decompose
    from results.statistics.effects import cost_of_choice, level_effects
    from results.statistics.estimands import estimands, shapley_shares
    from results.statistics.pairwise import compare_levels
    from results.statistics.pareto import pareto_front
    from results.statistics.ranks import before_and_after, rank_agreement, rank_flow
    from results.statistics.sentences import Verdict
    from results.statistics.subfactors import parts
    from results.statistics.verdict import verdict
    from results.tables.load import Loaded, load

_MODULES = {
    "AnalysisError": "errors",
    "Loaded": "tables.load",
    "Verdict": "statistics.sentences",
    "before_and_after": "statistics.ranks",
    "best": "statistics.choices",
    "compare_levels": "statistics.pairwise",
    "compare_outcomes": "statistics.by_image",
    "cost_of_choice": "statistics.effects",
    "curves": "statistics.choices",
    "decompose": "statistics.decomposition",
    "estimands": "statistics.estimands",
    "level_effects": "statistics.effects",
    "level_means": "statistics.contrasts",
    "load": "tables.load",
    "paired_difference": "statistics.contrasts",
    "pareto_front": "statistics.pareto",
    "parts": "statistics.subfactors",
    "rank_agreement": "statistics.ranks",
    "rank_flow": "statistics.ranks",
    "shapley_shares": "statistics.estimands",
    "verdict": "statistics.verdict",
}

__all__ = [
    "AnalysisError",
    "Loaded",
    "Verdict",
    "before_and_after",
    "best",
    "compare_levels",
    "compare_outcomes",
    "cost_of_choice",
    "curves",
    "decompose",
    "estimands",
    "level_effects",
    "level_means",
    "load",
    "paired_difference",
    "pareto_front",
    "parts",
    "rank_agreement",
    "rank_flow",
    "shapley_shares",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"results.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'results' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
