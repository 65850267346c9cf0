"""The simulated sweeps that `benchmarks/calibration.py` tries intervals on, by name."""

from __future__ import annotations

from dataclasses import replace

from simulated_sweeps import UNLIKE, Setting

TRUTHS = {
    "fine-tuning dominates": (0.02, 0.10, 0.03),
    "criterion without effect": (0.0, 0.10, 0.03),
    "equal effects": (0.08, 0.08, 0.03),
    "near tie": (0.05, 0.06, 0.02),
    "effects near zero": (0.003, 0.006, 0.002),
    "interaction alone": (0.0, 0.0, 0.06),
}
EQUAL = Setting(TRUTHS["equal effects"])
SETTINGS = {
    **{name: Setting(truth) for name, truth in TRUTHS.items()},
    "equal, 5 % missing": replace(EQUAL, missing=0.05),
    "equal, 15 % missing": replace(EQUAL, missing=0.15),
    "equal, 30 % missing": replace(EQUAL, missing=0.3),
    "equal, 50 % missing": replace(EQUAL, missing=0.5),
    "equal, last seed half done": replace(EQUAL, half=True),
    "equal, criterion noisy": replace(EQUAL, criterion=0.06, finetuning=0.005),
    "equal, fine-tuning noisy": replace(EQUAL, criterion=0.005, finetuning=0.06),
    "equal and small, criterion noisy": Setting((0.03, 0.03, 0.03), 0.06, 0.005),
    "criterion's noise alone, 0 against 8": Setting((0.0, 0.08, 0.03), 0.03, 0.0, 0.0),
    "fine-tuning's noise alone, 8 against 0": Setting((0.08, 0.0, 0.03), 0.0, 0.03, 0.0),
    "equal, levels' noise unlike": replace(EQUAL, levels=UNLIKE),
}
SMALLEST = (1, 2, 1, 1, 2)
SIBLINGS = {
    "2 criteria, 2 fine-tunings, nothing else": replace(EQUAL, sizes=SMALLEST),
    "the same, noise of 5 points": replace(EQUAL, sizes=SMALLEST, trial=0.05),
    "the same, criterion without effect": Setting((0.0, 0.08, 0.02), sizes=SMALLEST),
    "2 criteria, 2 fine-tunings, 2 architectures": replace(EQUAL, sizes=(2, 2, 1, 1, 2)),
    "8 criteria, 2 fine-tunings": replace(EQUAL, sizes=(2, 8, 2, 1, 2)),
    "2 criteria, 6 fine-tunings": replace(EQUAL, sizes=(2, 2, 2, 1, 6)),
    "one architecture five times as noisy": replace(EQUAL, architectures=5.0),
    "the same, noise of 6 points": replace(EQUAL, architectures=5.0, trial=0.06),
    "noise of criterion and fine-tuning together": replace(EQUAL, both=0.04),
    "heavy-tailed noise of 6 points": replace(EQUAL, heavy=True, trial=0.06),
}
LOSSES = {
    "10 % of cells never run": replace(EQUAL, never=0.1),
    "30 % of cells never run": replace(EQUAL, never=0.3),
    "10 % never run, 15 % missing": replace(EQUAL, never=0.1, missing=0.15),
    "half of a criterion's trials missing": replace(EQUAL, level=0.5),
    "15 % missing, the lower the likelier": replace(EQUAL, low=0.15),
    "2 by 2, 15 % missing": replace(EQUAL, sizes=SMALLEST, missing=0.15),
    "8 by 2, 30 % missing": replace(EQUAL, sizes=(2, 8, 2, 1, 2), missing=0.3),
    "criterion noisy, 30 % missing": replace(EQUAL, criterion=0.06, finetuning=0.005, missing=0.3),
    "noise of both together, 30 % missing": replace(EQUAL, both=0.04, missing=0.3),
}
UNEQUAL = Setting((0.05, 0.08, 0.03))
COLLAPSES = {
    "a criterion collapses at 20 % of seeds": replace(UNEQUAL, collapse=0.2),
    "a criterion collapses at 40 % of seeds": replace(UNEQUAL, collapse=0.4),
    "a fine-tuning collapses at 30 % of seeds": replace(UNEQUAL, collapse=0.3, struck=(4,)),
    "one criterion with one fine-tuning, at 30 %": replace(UNEQUAL, collapse=0.3, struck=(1, 4)),
}
