"""Attacks of least distance beside their authors' code: the distances, image by image."""

from __future__ import annotations

import importlib
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from authors import Row
from authors.attacks import NETWORKS, Case, cases, package
from prune_core.attacks import nearest
from prune_core.attacks.evaluation import right
from prune_core.attacks.norms import NORMS

ORDERS = {"linf": math.inf, "l2": 2.0}
POINTS = ((0.5, 0.5, 0.5, 0.5), (0.3, 0.9, 0.1, 0.2), (0.7, 0.1, 0.9, 0.9), (0.1, 0.5, 0.1, 0.5))
"""Settings of SGD, as points of the unit cube."""
Attack = Callable[[Tensor, Tensor], Tensor]


def compared(case: Case, name: str, ours: Attack, theirs: Attack) -> Row:
    """Compare the distances of two attacks on the images that are right without one."""
    alive = right(case.network, case.images, case.labels)
    images, labels = case.images[alive], case.labels[alive]
    length = NORMS[case.threat.norm].length
    mine, other = (length(attack(images, labels).detach() - images) for attack in (ours, theirs))
    apart = float(((mine - other).abs() / other.clamp(min=1e-9)).max())
    shares = [float((each > case.threat.eps).float().mean()) for each in (other, mine)]
    return (
        f"{name}, {case.name}: median distance by theirs and ours; widest gap; outside the ball",
        f"{other.median():.4f}, {mine.median():.4f}; {apart:.1%}; {shares[0]:.1%}, {shares[1]:.1%}",
    )


def fmn(originals: Path) -> Iterator[Row]:
    """FMN of adversarial-library."""
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # it draws, and is not needed here
    name = "adv_lib.attacks.fast_minimum_norm"
    theirs = package(originals / "adversarial-library", name).fmn
    for case in cases(originals, NETWORKS[:1]):
        norm = case.threat.norm
        for steps in (50, 200):
            yield compared(
                case,
                f"fmn-{steps}",
                lambda x, y, case=case, norm=norm, steps=steps: nearest.fmn(
                    case.network, x, y, norm, steps
                ),
                lambda x, y, case=case, norm=norm, steps=steps: theirs(
                    case.network, x.clone(), y, ORDERS[norm], steps=steps
                ),
            )


def ho_fmn(originals: Path) -> Iterator[Row]:
    """HO-FMN: its attack at four settings; and its search for settings, which needs ax-platform."""
    attack = package(originals / "HO-FMN", "src.attacks.fmn").FMN
    case = next(cases(originals, NETWORKS[:1]))

    def run(
        x: Tensor, y: Tensor, steps: int, settings: dict[str, Any], tail: dict[str, Any]
    ) -> Any:
        how = {"loss": "DLR", "optimizer_config": settings, "scheduler_config": tail}
        return attack(case.network, steps=steps, **how).forward(x, y)

    for point in POINTS:
        rate, momentum, decay, dampening = nearest.settings(torch.tensor(point).double())
        config = {"lr": rate, "momentum": momentum, "weight_decay": decay, "dampening": dampening}
        tail = {"T_max": 100, "eta_min": 0, "last_epoch": -1}
        yield compared(
            case,
            f"ho-fmn at {point}",
            lambda x, y, point=point: nearest.descend(
                case.network, x, y, "linf", 100, torch.tensor(point).double()
            ),
            lambda x, y, config=config, tail=tail: run(x, y, 100, config, tail),
        )
    search = importlib.import_module("src.ho_fmn.ho_fmn").HOFMN

    def tuned(x: Tensor, y: Tensor) -> Any:
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64)
        with tempfile.TemporaryDirectory() as folder:
            chosen = search(case.network, loader, folder, loss="DLR", steps=100, trials=32)
            best = chosen.tune()
        configs = chosen.parametrization_to_configs(best, batch_size=len(x), steps=200)
        return run(x, y, 200, *configs)

    yield compared(
        case, "ho-fmn-32", lambda x, y: nearest.ho_fmn(case.network, x, y, "linf", 32), tuned
    )
