"""Allocations beside their authors' code: the share of its weights that every layer keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from torch import nn

from authors import Row, functions_of
from authors.scores import built, modules_of, scored
from prune_core.pruning.ratios.evidence import Evidence
from prune_core.pruning.ratios.solver import Limits, solve
from prune_core.specs.registry import ALLOCATIONS

SPARSITIES = (0.9, 0.95, 0.99)


def lamp(originals: Path) -> Iterator[Row]:
    """LAMP and what its authors compare it with: ERK, global magnitude, uniform+."""
    tools = originals / "layer-adaptive-sparsity" / "tools"
    imports = (
        "import torch\nimport torch.nn as nn\nfrom torch.nn.utils import prune\nimport numpy as np"
    )
    theirs = functions_of(tools / "pruners.py", imports, {})
    helpers = functions_of(tools / "utils.py", imports + "\nfrom copy import deepcopy", {})
    for name in ("get_weights", "get_modules"):
        setattr(theirs, name, getattr(helpers, name))
    names = {"lamp": "lamp", "erk": "erk", "global": "glob", "uniform-plus": "unifplus"}
    for ours, other in names.items():
        for sparsity in SPARSITIES:
            network = built()
            mine = shares(network, ours, sparsity)
            theirs.prune_weights_reparam(network)
            theirs.weight_pruner_loader(other)(network, sparsity)
            kept = {name: float(network.get_submodule(name).weight_mask.mean()) for name in mine}
            yield f"{ours} at {sparsity:.0%}: {_ends(mine)}, largest difference", _apart(mine, kept)


def erk(originals: Path) -> Iterator[Row]:
    """ERK as RigL's authors have it."""
    theirs = functions_of(
        originals / "rigl" / "rigl" / "sparse_utils.py",
        "import re\nimport numpy as np\nfrom types import SimpleNamespace\n"
        "DEFAULT_ERK_SCALE = 1.0\n"
        "tf = SimpleNamespace(logging=SimpleNamespace(info=lambda *_: None))",
        {},
    )
    network = built()
    masks = [
        SimpleNamespace(
            name=f"{module.name}/mask:0",
            shape=SimpleNamespace(as_list=lambda module=module: list(module.shape)),
        )
        for module in modules_of(network, "weight")
    ]
    for sparsity in SPARSITIES:
        mine = shares(network, "erk", sparsity)
        found = theirs.get_sparsities_erdos_renyi(masks, sparsity, {}, include_kernel=True)
        kept = {name.removesuffix("/mask:0"): 1 - float(share) for name, share in found.items()}
        yield f"erk at {sparsity:.0%} beside RigL: largest difference", _apart(mine, kept)


def shares(network: nn.Module, allocation: str, sparsity: float) -> dict[str, float]:
    """Return the share of its weights that every layer keeps; the budget counts weights alone."""
    modules = modules_of(network, "weight")
    units = {module.name: module.units for module in modules}
    scores = scored(network, "lamp" if allocation == "lamp" else "l1", "weight")
    evidence = Evidence(
        units=units,
        shapes={module.name: module.shape for module in modules},
        scores={name: each.double().numpy() for name, each in scores.items()},
        outputs=frozenset({"network.classifier"}),
    )
    found = solve(
        {name: Limits.of(count, 0.0) for name, count in units.items()},
        lambda dial: ALLOCATIONS.load(allocation)(evidence, dial),
        lambda kept: np.asarray(kept.sum(-1)),
        sparsity,
        exactly=True,
    )
    return {name: found.kept[name] / count for name, count in units.items()}


def _ends(kept: Mapping[str, float]) -> str:
    return f"densities {min(kept.values()):.3f} to {max(kept.values()):.3f}"


def _apart(mine: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    return f"{max(abs(mine[name] - share) for name, share in theirs.items()):.1e}"
