"""Attacks of the evaluation beside their authors' code, image by image, on five networks.

Ours run as they do in an evaluation: on the twin of a network, and judged by the network itself.
FOLDER may hold ``cifar10`` too, a folder of Parquet files: without it, two networks are left.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from authors import CPU, Row, SkippedError
from prune_core.attacks.borrowed import NAMES
from prune_core.attacks.evaluation import attack, right
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.folding import Twin
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Threat
from prune_core.training import loop as training

IMAGES = 100
"""Of each network's test split."""
SLOW = {"mobilevit-xxs": 20}
"""The images of AutoAttack on a network that would take hours."""
FEW = 40
"""The images of the search of Carlini and Wagner."""
DIGITS = Training(objective="pgd", epochs=15, lr=0.05, attack_steps=5)
NATURAL = Training(objective="pgd", epochs=6, batch_size=64, lr=0.05, attack_steps=2)
PLAIN = Training(objective="standard", epochs=8, batch_size=64, optimizer="adamw", lr=1e-3)
Setting = tuple[str, str, Training, float, float]
"""Data set, architecture, training (against the linf radius), radius under linf and under l2."""
NETWORKS: tuple[Setting, ...] = (
    ("digits", "resnet8", DIGITS, 0.15, 0.8),
    ("digits", "vgg8", DIGITS, 0.15, 0.8),
    ("cifar10", "resnet8", NATURAL, 4 / 255, 0.5),
    ("cifar10", "vgg8", NATURAL, 4 / 255, 0.5),
    ("cifar10", "mobilevit-xxs", PLAIN, 0.5 / 255, 0.05),
)
Theirs = Callable[[nn.Module, Tensor, Tensor, Threat], Tensor]


@dataclass(frozen=True)
class Case:
    """A trained network with images and a threat."""

    name: str
    network: nn.Module
    images: Tensor
    labels: Tensor
    threat: Threat

    def first(self, count: int) -> Case:
        """Return the case with its first images alone."""
        return replace(self, images=self.images[:count], labels=self.labels[:count])


def package(folder: Path, name: str) -> ModuleType:
    """Import a package of the authors' from a clone."""
    if not folder.is_dir():
        raise SkippedError(f"no {folder}")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SkippedError(f"{name} needs {error.name}, which is not installed") from error


def cases(originals: Path, networks: tuple[Setting, ...] = NETWORKS) -> Iterator[Case]:
    """Train networks, one after the other; give each under both norms."""
    for name, architecture, recipe, linf, l2 in networks:
        spec = Dataset(name="digits")
        if name != "digits":
            root = str(originals / name)
            if not Path(root).is_dir():
                continue
            spec = Dataset(
                name=name, source="parquet", root=root, per_class=250, test_per_class=IMAGES // 10
            )
        data = datasets.load(spec, CPU)
        network = architectures.build(
            architecture, data.shape, data.classes, data.mean, data.std, 0
        )
        threat = Threat(eps=linf)
        training.fit(network, data, recipe.resolved(), threat, "benchmark")
        images, labels = data.test.batch(slice(0, IMAGES))
        for norm, eps in (("linf", linf), ("l2", l2)):
            where = f"{norm}, {architecture} on {name}"
            yield Case(where, network.eval(), images, labels, Threat(norm=norm, eps=eps))


def compared(case: Case, name: str, theirs: Theirs) -> Row:
    """Attack the same images by ours and by theirs, from the same seed."""
    start = time.perf_counter()
    with seeded(0, CPU), patch("prune_core.attacks.borrowed.drawn_seed", lambda: 0):
        found = attack(
            case.network, Twin(case.network), case.images, case.labels, name, case.threat
        )
    middle = time.perf_counter()
    alive = right(case.network, case.images, case.labels)
    left = alive.clone()
    with seeded(0, CPU), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = theirs(case.network, case.images[alive], case.labels[alive], case.threat)
    seconds = (middle - start, time.perf_counter() - middle)
    left[alive] = right(case.network, other.detach(), case.labels[alive])
    ours = right(case.network, found, case.labels)
    count = len(case.labels)
    rates = ", ".join(f"{100 * float(x.float().mean()):.1f} %" for x in (alive, left, ours))
    differ = f"{int((left != ours).sum())} of {count}"
    times = f"{seconds[1]:.0f} s theirs, {seconds[0]:.0f} s ours"
    return (
        f"{name}, {case.name}: right without attack, after theirs, after ours; that differ",
        f"{rates}; {differ} ({times})",
    )


def autoattack(originals: Path) -> Iterator[Row]:
    """The standard version of fra31/auto-attack."""
    theirs = package(originals / "auto-attack", "autoattack")

    def standard(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        attack = theirs.AutoAttack(
            network, NAMES[threat.norm], threat.eps, seed=0, verbose=False, device="cpu"
        )
        found: Tensor = attack.run_standard_evaluation(images, labels, bs=len(images))
        return found

    for case in cases(originals):
        images = next((count for name, count in SLOW.items() if name in case.name), IMAGES)
        yield compared(case.first(images), "autoattack", standard)


def parts(originals: Path) -> Iterator[Row]:
    """The parts of fra31/auto-attack by themselves."""
    folder = originals / "auto-attack"
    apgd = package(folder, "autoattack.autopgd_base").APGDAttack
    fab = package(folder, "autoattack.fab_pt").FABAttack_PT
    square = package(folder, "autoattack.square").SquareAttack

    def run(
        kind: Any, network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, **how: object
    ) -> Tensor:
        attack = kind(network, norm=NAMES[threat.norm], eps=threat.eps, seed=0, device="cpu", **how)
        found: Tensor = attack.perturb(images, labels)
        return found

    attacks: dict[str, Theirs] = {
        "apgd-ce": partial(run, apgd, n_iter=100, loss="ce"),
        "apgd-dlr": partial(run, apgd, n_iter=100, loss="dlr"),
        "fab": partial(run, fab, n_iter=100),
        "square-1000": partial(run, square, n_queries=1000),
    }
    for case in cases(originals):
        for name, theirs in attacks.items():
            yield compared(case, name, theirs)


def simple(originals: Path) -> Iterator[Row]:
    """FGSM and PGD of cleverhans, the library of Goodfellow, Papernot and others."""
    folder = originals / "cleverhans"
    fgsm = package(folder, "cleverhans.torch.attacks.fast_gradient_method").fast_gradient_method
    pgd = package(
        folder, "cleverhans.torch.attacks.projected_gradient_descent"
    ).projected_gradient_descent
    norms = {"linf": float("inf"), "l2": 2}

    def one(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        found: Tensor = fgsm(network, images, threat.eps, norms[threat.norm], 0, 1, labels)
        return found

    def twenty(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        found: Tensor = pgd(
            network, images, threat.eps, threat.eps / 8, 20, norms[threat.norm], 0, 1, labels
        )
        return found

    for case in cases(originals):
        yield compared(case, "fgsm", one)
        yield compared(case, "pgd-20", twenty)


def carlini_wagner(originals: Path) -> Iterator[Row]:
    """The search of Carlini and Wagner as Foolbox has it: their own needs TensorFlow 1."""
    try:
        import foolbox
    except ImportError as error:
        raise SkippedError(f"{error.name} is not installed") from error

    def foolboxes(
        network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, steps: int
    ) -> Tensor:
        model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
        search = foolbox.attacks.L2CarliniWagnerAttack(steps=steps, stepsize=10 / steps)
        _, found, broken = search(model, images, labels, epsilons=threat.eps)
        within: Tensor = torch.where(broken.view(-1, 1, 1, 1), found, images)
        return within

    for case in cases(originals, NETWORKS[:4]):  # the fifth would take hours
        if case.threat.norm == "l2":
            few = case.first(FEW)
            for name, steps in (("cw", 1000), ("cw-100", 100)):
                yield compared(few, name, partial(foolboxes, steps=steps))
            yield compared(few, "pgd-20", partial(foolboxes, steps=100))  # which is the stronger?
