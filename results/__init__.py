"""What a sweep found: its tables, their analysis, figures and report. No torch, no ray.

>>> import results
>>> tables = results.load("runs", sweep="demo")      # doctest: +SKIP
>>> results.verdict(tables.trials, "finetuned_pgd_20").sentence      # doctest: +SKIP
"""

from results.contrasts import level_means, paired_difference
from results.decomposition import decompose
from results.design import AnalysisError
from results.loading import Loaded, load
from results.verdict import Verdict, verdict

__all__ = [
    "AnalysisError",
    "Loaded",
    "Verdict",
    "decompose",
    "level_means",
    "load",
    "paired_difference",
    "verdict",
]
