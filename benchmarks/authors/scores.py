"""Scores of criteria beside their authors' code, on a ResNet-8 and the handwritten digits."""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from authors import CPU, Row, functions_of
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.third_party import torch_pruning as tp
from prune_core.pruning.prunable.granularities import prunable_view
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.scores.scoring import score
from prune_core.pruning.scores.signals import Signals
from prune_core.specs.recipes import Training
from prune_core.specs.registry import CRITERIA
from prune_core.specs.settings import Calibration, Dataset
from prune_core.specs.stages import Dense, Scores
from prune_core.training import loop as training

NUMPY = "import torch\nimport numpy as np\n"
STAGE = Dense(
    dataset=Dataset(name="digits"), architecture="resnet8", threat=None, seed=0,
    training=Training(objective="standard", epochs=3, lr=0.05).resolved(),
)  # fmt: skip


@functools.cache
def digits() -> datasets.Dataset:
    """The data set."""
    return datasets.load(STAGE.dataset, CPU)


def built(trained: bool = True) -> nn.Module:
    """Return the network, as built or after three epochs."""
    data = digits()
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    if trained:
        training.fit(network, data, STAGE.training, None, STAGE.key)
    return network.eval()


def scored(
    network: nn.Module,
    criterion: str,
    unit: str,
    data: datasets.Dataset | None = None,
    calibration: Calibration | None = None,
    sparsity: float | None = None,
) -> dict[str, Tensor]:
    """Return a criterion's scores by module."""
    data = data or digits()
    stage = Scores(
        network=STAGE, criterion=criterion, unit=unit, calibration=calibration,
        sparsity=sparsity if "sparsity" in CRITERIA[criterion].needs else None,
    )  # fmt: skip
    return score(network, data, modules_of(network, unit), stage)


def modules_of(network: nn.Module, unit: str) -> list[PrunableModule]:
    """Return the prunable modules."""
    return list(prunable_view(network, digits().shape, unit).modules)


def share_of_theirs(scores: Tensor, theirs: Tensor) -> float:
    """Return the share of what they keep that is among as many of our highest scores."""
    best = torch.zeros_like(theirs)
    best[scores.topk(int(theirs.sum())).indices] = True
    return float((best & theirs).sum() / theirs.sum())


def grasp(originals: Path) -> Iterator[Row]:
    """Weights kept at 90 % by ours and by theirs, from the same 10 images of every class."""
    theirs = functions_of(
        originals / "GraSP" / "pruner" / "GraSP.py",
        "import copy, math, types\nimport torch\nimport torch.nn as nn\n"
        "import torch.autograd as autograd\nimport torch.nn.functional as F",
        {},
    )
    data, network = digits(), built()
    order = sorted(range(len(data.train)), key=lambda i: int(data.train.labels[i]))
    chosen = [i for label in range(10) for i in
              [j for j in order if int(data.train.labels[j]) == label][:10]]  # fmt: skip
    some = replace(data, train=data.train.take(torch.tensor(chosen)))
    kept = theirs.GraSP(
        network, 0.9, [data.train.batch(slice(None))] * 2, CPU, 10, 10, 1, 200, False
    )
    modules = {name: module for name, module in network.named_modules() if module in kept}
    theirs_kept = torch.cat([kept[module].bool().flatten() for module in modules.values()])
    for name in ("grasp", "grasp-1"):
        found = scored(network, name, "weight", some, Calibration(samples=100, batch_size=50))
        both = share_of_theirs(torch.cat([found[module] for module in modules]), theirs_kept)
        yield f"{name}: weights of theirs (temperature 200) kept too", f"{both:.3f}"


def _pruners(originals: Path) -> tuple[ModuleType, ModuleType]:
    """Return Synaptic-Flow's pruners, and its layers, which have masks."""
    folder = originals / "Synaptic-Flow"
    layers = functions_of(
        folder / "Layers" / "layers.py",
        "import torch\nimport torch.nn as nn\nfrom torch.nn import functional as F, init\n"
        "from torch.nn.parameter import Parameter\nfrom torch.nn.modules.utils import _pair",
        {},
    )
    return functions_of(folder / "Pruners" / "pruners.py", NUMPY, {}), layers


def _masked(
    network: nn.Module, modules: list[PrunableModule], layers: ModuleType
) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Return a copy whose layers are theirs, and the masks and weights of its modules."""
    masked, pairs = copy.deepcopy(network), []
    for module in modules:
        layer = masked.get_submodule(module.name)
        layer.__class__ = getattr(layers, type(layer).__name__)
        layer.register_buffer("weight_mask", torch.ones_like(layer.weight))
        if layer.bias is not None:
            layer.register_buffer("bias_mask", torch.ones_like(layer.bias))
        pairs.append((layer.weight_mask, layer.weight))
    return masked, pairs


def synflow(originals: Path) -> Iterator[Row]:
    """Weights kept by ours and by theirs, in 100 rounds and in one, as built and trained."""
    pruners, layers = _pruners(originals)
    prune = functions_of(originals / "Synaptic-Flow" / "prune.py", NUMPY + "tqdm = list", {})
    for trained in (False, True):
        network = built(trained)
        modules = modules_of(network, "weight")
        parameters = sum(parameter.numel() for parameter in network.parameters())
        weights = sum(module.units for module in modules)
        for sparsity in (0.9, 0.95, 0.99):
            for rounds in (100, 1):
                masked, pairs = _masked(network, modules, layers)
                images = [(torch.ones(1, *digits().shape), None)]
                prune.prune_loop(
                    masked, None, pruners.SynFlow(pairs), images, CPU, 1 - sparsity, "exponential",
                    "global", rounds,
                )  # fmt: skip
                name = "synflow" if rounds == 100 else f"synflow-{rounds}"
                # Their share is of the weights, ours of all parameters.
                found = scored(network, name, "weight", sparsity=sparsity * weights / parameters)
                both = share_of_theirs(
                    torch.cat([found[module.name] for module in modules]),
                    torch.cat([mask.bool().flatten() for mask, _ in pairs]),
                )
                what = "trained" if trained else "as built"
                yield f"{name}, {what}, {sparsity:.0%}: weights of theirs kept too", f"{both:.4f}"


def snip(originals: Path) -> Iterator[Row]:
    """Single weights scored by Synaptic-Flow's SNIP, which is Lee et al.'s formula in torch."""
    pruners, layers = _pruners(originals)
    network, calibration = built(), Calibration()
    modules = modules_of(network, "weight")
    stage = Scores(network=STAGE, criterion="snip", unit="weight", calibration=calibration)
    masked, pairs = _masked(network, modules, layers)
    pruner = pruners.SNIP(pairs)
    batches = Signals(network, digits(), modules, stage).batches
    pruner.score(masked, F.cross_entropy, batches, CPU)
    found = scored(network, "snip", "weight", calibration=calibration)
    whole = torch.cat([found[module.name] for module in modules])
    theirs = torch.cat([pruner.scores[id(weight)].flatten() for _, weight in pairs])
    furthest = float((whole / whole.sum() - theirs).abs().max() / theirs.max())
    yield "snip: largest difference, as a share of the highest score", f"{furthest:.1e}"
    kept = theirs >= theirs.topk(len(theirs) // 10).values[-1]
    yield "snip, 90 %: weights of theirs kept too", f"{share_of_theirs(whole, kept):.4f}"


def taylor(originals: Path) -> Iterator[Row]:
    """Channels scored by their engine with a gate behind every normalisation, method 22."""
    theirs = functions_of(
        originals / "Taylor_pruning" / "pruning_engine.py",
        "import os, time, json, itertools, pickle\nimport numpy as np\nimport torch\n"
        "import torch.nn as nn\nfrom copy import deepcopy",
        {"async=True": "non_blocking=True"},
    )
    network, calibration = built(), Calibration()
    stage = Scores(network=STAGE, criterion="taylor", calibration=calibration)
    modules = modules_of(network, "channel")
    gated = copy.deepcopy(network)
    gates = {module.name: nn.Parameter(torch.ones(module.units)) for module in modules}
    for module in modules:
        for member in module.members:
            if member.side == "norm":
                gate = gates[module.name].view(-1, 1, 1)
                gated.get_submodule(member.layer).register_forward_hook(
                    lambda _layer, _inputs, output, gate=gate: output * gate
                )
    with tempfile.TemporaryDirectory() as logs:
        parameters = [{"parameter": gate} for gate in gates.values()]
        engine = theirs.pytorch_pruning(parameters, {"method": 22}, logs)
        for images, labels in Signals(network, digits(), modules, stage).batches:
            for gate in gates.values():
                gate.grad = None
            F.cross_entropy(gated(images), labels).backward()
            engine.add_criteria()
    found = scored(network, "taylor", "channel", calibration=calibration)
    added = zip(gates, engine.prune_network_accomulate["by_layer"], strict=True)
    pairs = [(found[name], total / engine.iterations_done) for name, total in added]
    yield "taylor by channel: largest relative difference", f"{_furthest(pairs):.1e}"


def groups(_originals: Path) -> Iterator[Row]:
    """Torch-Pruning's importances of groups, which is installed, and filters alone beside them."""
    network = built()
    modules = modules_of(network, "channel")
    for name, importance in (
        ("l1", tp.importance.MagnitudeImportance(p=1, normalizer=None)),
        ("l2", tp.importance.MagnitudeImportance(p=2, normalizer=None)),
        ("fpgm", tp.importance.FPGMImportance(normalizer=None)),
    ):
        graph = tp.DependencyGraph().build_dependency(network, torch.zeros(2, *digits().shape))
        alone = scored(network, name, "channel")
        group = scored(network, f"group-{name}", "channel")
        pairs, likeness = [], []
        for module in modules:
            root, every = network.get_submodule(module.name), list(range(module.units))
            whole = graph.get_pruning_group(root, tp.prune_conv_out_channels, idxs=every)
            pairs.append((group[module.name], importance(whole)))
            likeness.append(float(spearmanr(alone[module.name], group[module.name]).statistic))
        yield f"group-{name}: largest relative difference", f"{_furthest(pairs):.1e}"
        ends = f"{min(likeness):.2f} to {max(likeness):.2f}"
        yield f"{name} and group-{name}: Spearman by module", ends


def filters(originals: Path) -> Iterator[Row]:
    """The half of a layer's filters that goes by norm and by distance, as their masks have it."""
    theirs = functions_of(
        originals / "filter-pruning-geometric-median" / "pruning_cifar10.py",
        "import numpy as np\nimport torch\nfrom scipy.spatial import distance",
        {"async=True": "non_blocking=True", ".cuda()": ""},
    )
    network = built()
    alone = [m for m in modules_of(network, "channel") if len(m.makers()) == 1]
    masks = theirs.Mask(network)
    for name in ("l2", "fpgm"):
        found, both = scored(network, name, "channel"), []
        for module in alone:
            weight = network.get_parameter(f"{module.name}.weight").detach()
            with contextlib.redirect_stdout(io.StringIO()):
                code = (
                    masks.get_filter_codebook(weight, 0.5, weight.numel())
                    if name == "l2"
                    else masks.get_filter_similar(weight, 1, 0.5, weight.numel())
                )
            kept = torch.from_numpy(code).view(len(weight), -1).all(1)
            both.append(share_of_theirs(found[module.name], kept))
        yield f"{name}: filters of theirs kept too", f"{min(both):.3f}"


def _furthest(pairs: list[tuple[Tensor, Tensor]]) -> float:
    """Return the largest difference of a number of ours from theirs, as a share of theirs."""
    return max(float(((mine - other).abs() / other.abs()).max()) for mine, other in pairs)
