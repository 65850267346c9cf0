"""Estimators: from rows of ``trials`` to tidy tables and verdicts; no plotting, no files."""
