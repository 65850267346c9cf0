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
    from results.report.published import published
    from results.statistics.levels.average_ranks import average_ranks
    from results.statistics.levels.by_image import compare_outcomes
    from results.statistics.levels.choices import best, curves
    from results.statistics.levels.contrasts import level_means, paired_difference
    from results.statistics.levels.effects import cost_of_choice, level_effects
    from results.statistics.levels.pairwise import compare_levels
    from results.statistics.levels.pareto import pareto_front
    from results.statistics.levels.profiles import performance_profile
    from results.statistics.levels.ranks import before_and_after, rank_agreement, rank_flow
    from results.statistics.levels.tries import expected_best
    from results.statistics.levels.unit_agreement import unit_agreement
    from results.statistics.shares.decomposition import decompose
    from results.statistics.shares.estimands import estimands, shapley_shares
    from results.statistics.verdict.sentences import Verdict
    from results.statistics.verdict.subfactors import parts
    from results.statistics.verdict.verdict import verdict
    from results.tables.distances import security_curves
    from results.tables.load import Loaded, load
    from results.tables.outcomes import outcomes

_MODULES = {
    "AnalysisError": "errors",
    "Loaded": "tables.load",
    "Verdict": "statistics.verdict.sentences",
    "average_ranks": "statistics.levels.average_ranks",
    "before_and_after": "statistics.levels.ranks",
    "best": "statistics.levels.choices",
    "compare_levels": "statistics.levels.pairwise",
    "compare_outcomes": "statistics.levels.by_image",
    "cost_of_choice": "statistics.levels.effects",
    "curves": "statistics.levels.choices",
    "decompose": "statistics.shares.decomposition",
    "estimands": "statistics.shares.estimands",
    "expected_best": "statistics.levels.tries",
    "level_effects": "statistics.levels.effects",
    "level_means": "statistics.levels.contrasts",
    "load": "tables.load",
    "outcomes": "tables.outcomes",
    "paired_difference": "statistics.levels.contrasts",
    "pareto_front": "statistics.levels.pareto",
    "parts": "statistics.verdict.subfactors",
    "performance_profile": "statistics.levels.profiles",
    "published": "report.published",
    "rank_agreement": "statistics.levels.ranks",
    "rank_flow": "statistics.levels.ranks",
    "security_curves": "tables.distances",
    "shapley_shares": "statistics.shares.estimands",
    "unit_agreement": "statistics.levels.unit_agreement",
    "verdict": "statistics.verdict.verdict",
}

__all__ = [
    "AnalysisError",
    "Loaded",
    "Verdict",
    "average_ranks",
    "before_and_after",
    "best",
    "compare_levels",
    "compare_outcomes",
    "cost_of_choice",
    "curves",
    "decompose",
    "estimands",
    "expected_best",
    "level_effects",
    "level_means",
    "load",
    "outcomes",
    "paired_difference",
    "pareto_front",
    "parts",
    "performance_profile",
    "published",
    "rank_agreement",
    "rank_flow",
    "security_curves",
    "shapley_shares",
    "unit_agreement",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"results.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'results' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
