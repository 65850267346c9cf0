"""Trials as a table of factors and seeds, what it lacks, and least squares and means over it."""
