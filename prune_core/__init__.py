"""Robust pruning as pure functions: specs in, networks and numbers out.

Importing the package imports no torch; each module is imported by the name of its one idea
(``prune_core.pruning.criteria``, ``prune_core.sensitivity``, ...).
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
