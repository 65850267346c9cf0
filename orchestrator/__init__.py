"""Sweep files, plans and jobs; the Ray Tune driver; the command line."""
