"""Robust pruning as pure functions: specs in, networks and numbers out.

Importing the package imports no torch. Import a module by its own name, for example
``prune_core.pruning.scores.criteria``.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
