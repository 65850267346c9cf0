"""What fine-tunings cost, and which of them cost the same."""

from __future__ import annotations

import pandas as pd

ALIKE = 1.1
"""Fine-tunings are of equal compute where the dearest costs at most so many times the cheapest."""


def finetuning_compute(trials: pd.DataFrame) -> pd.Series[float]:
    """Return what each trial's fine-tuning costs, in passes of one image through the network, MACs.

    Epochs times the pruned network's MACs times the passes that a step takes, forwards and
    backwards: one for the weights, one for every step of its attack. All fine-tunings train
    on the same images, so their number is left out.
    """
    steps = trials["attack_steps"].fillna(0) if "attack_steps" in trials else 0
    return trials["epochs"] * trials["macs"] * (1 + steps)


def cost_by_finetuning(trials: pd.DataFrame) -> pd.Series[float]:
    """Return what each fine-tuning costs on average, the cheapest first; those of nothing aside."""
    if not {"finetuning", "epochs", "macs"} <= set(trials):
        return pd.Series(dtype=float)
    cost = finetuning_compute(trials).groupby(trials["finetuning"]).mean()
    return cost[cost > 0].sort_values()


def matched(trials: pd.DataFrame) -> list[str]:
    """Return the largest group of fine-tunings that cost the same; none where no two do.

    Those of no epochs cost nothing, and are left out.
    """
    cost = cost_by_finetuning(trials)
    groups = [[str(n) for n in cost.index[(cost >= least) & (cost <= ALIKE * least)]]
              for least in cost]  # fmt: skip
    largest = max(groups, key=len, default=[])
    return largest if len(largest) > 1 else []
