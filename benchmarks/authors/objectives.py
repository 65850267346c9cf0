"""Objectives beside their authors' code: one step on the same images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from authors import CPU, Row, apart, functions_of
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.specs.registry import OBJECTIVES
from prune_core.specs.settings import Dataset, Threat
from prune_core.training.objectives import Context
from prune_core.training.training_attack import AttackFunction, TrainingAttack

IMPORTS = (
    "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    "import torch.optim as optim\nfrom collections import OrderedDict\n"
    "from torch.autograd import Variable\nEPS = 1e-20"
)
MODERN = {".cuda()": "", "size_average=False": "reduction='sum'"}
THREAT, LR = Threat(eps=0.15), 0.1
STEPS = {"epsilon": THREAT.eps, "num_steps": 10, "step_size": THREAT.eps / 4}
Step = Callable[[nn.Module, torch.optim.Optimizer], None]
"""A step of training: it moves the network's weights."""


@dataclass(frozen=True)
class Batch:
    """What both take a step on: images with labels, attacked ones, and untrained networks."""

    images: Tensor
    labels: Tensor
    attacked: Tensor
    network: nn.Module
    teacher: nn.Module


def batch_of_digits() -> Batch:
    data = datasets.load(Dataset(name="digits"), CPU)
    images, labels = data.train.batch(slice(0, 64))
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    networks = (
        architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, seed)
        for seed in (0, 1)
    )
    return Batch(images, labels, (images + 0.3 * noise).clamp(0, 1), *networks)


def _after(network: nn.Module, take: Step) -> nn.Module:
    """Return a copy of the network after one step."""
    moved = copy.deepcopy(network).train()
    take(moved, torch.optim.SGD(moved.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4))
    return moved


def _ours(batch: Batch, objective: str, attack: AttackFunction | None = None) -> Step:
    """Return our step; the attack gives the batch's attacked images if it is None."""
    training = Training(objective=objective, epochs=1, lr=LR).resolved()

    def take(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        attacked = attack or TrainingAttack(network, training, THREAT)
        context = Context(training, attacked, batch.teacher, progress=0.5)
        loss, _ = OBJECTIVES.load(objective)(network, batch.images, batch.labels, context)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return take


def _steps(name: str, batch: Batch, mine: Step, theirs: Step) -> Iterator[Row]:
    """Compare weights and statistics after a step of each."""
    ours, other = _after(batch.network, mine), _after(batch.network, theirs)
    start = dict(batch.network.named_parameters())
    pairs = list(zip(ours.named_parameters(), other.parameters(), strict=True))
    moves = max(apart(p - start[n], q - start[n]) for (n, p), q in pairs)
    weights = max(apart(p, q) for (_, p), q in pairs)
    yield (
        f"{name}: largest relative difference of a tensor's step; of its weights after it",
        f"{moves:.1e}; {weights:.1e}",
    )
    buffers = zip(ours.buffers(), other.buffers(), strict=True)
    worst = max(apart(p.float(), q.float()) for p, q in buffers)
    yield f"{name}: BatchNorm's statistics, the same", f"{worst:.1e}"


def _losses(
    name: str, batch: Batch, theirs: Callable[..., Tensor], clean: int, **settings: float
) -> Iterator[Row]:
    """Compare with a loss that attacks the images itself: ours gets what it made of them."""
    passed: list[Tensor] = []

    def noted(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training:
            passed.append(inputs[0].detach())  # clean, attacked, and so on

    def take(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        handle = network.register_forward_pre_hook(noted)
        with seeded(0, CPU):
            loss = theirs(
                network, batch.images, batch.labels, optimizer, 0.02, THREAT.eps, 3, **settings
            )
        handle.remove()
        loss.backward()
        optimizer.step()

    _after(batch.network, take)
    yield from _steps(name, batch, _ours(batch, name, lambda *_: passed[clean]), take)


def trades(originals: Path) -> Iterator[Row]:
    """TRADES, from the images that their loss attacks."""
    theirs = functions_of(originals / "TRADES" / "trades.py", IMPORTS, MODERN)
    yield from _losses("trades", batch_of_digits(), theirs.trades_loss, 1, beta=6.0)


def mart(originals: Path) -> Iterator[Row]:
    """MART, from the images that their loss attacks."""
    theirs = functions_of(originals / "MART" / "mart.py", IMPORTS, MODERN)
    yield from _losses("mart", batch_of_digits(), theirs.mart_loss, 1, beta=5.0)


def awp(originals: Path) -> Iterator[Row]:
    """Adversarial weight perturbation of PGD's loss and of TRADES's, at the defaults of each."""
    batch = batch_of_digits()
    folder = originals / "AWP"
    tools = functions_of(folder / "AT_AWP" / "utils_awp.py", IMPORTS, {})

    def of_pgd(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        # The lines of the loop in AT_AWP/train_cifar10.py; it has no function.
        adversary = _adversary(tools.AdvWeightPerturb, network, 0.01)
        step = adversary.calc_awp(inputs_adv=batch.attacked, targets=batch.labels)
        adversary.perturb(step)
        loss = F.cross_entropy(network(batch.attacked), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        adversary.restore(step)

    yield from _steps("awp:pgd", batch, _ours(batch, "awp:pgd", lambda *_: batch.attacked), of_pgd)
    tools = functions_of(folder / "trades_AWP" / "utils_awp.py", IMPORTS, {})
    script = functions_of(
        folder / "trades_AWP" / "train_trades_cifar.py", f"import time\n{IMPORTS}", {}
    )
    script.__dict__.update(
        perturb_input=lambda **_: batch.attacked, device=CPU, step_size=0.0, epsilon=0.0,
        accuracy=lambda *_, **__: (torch.zeros(1), torch.zeros(1)), Bar=_Quiet, AverageMeter=_Quiet,
        args=SimpleNamespace(num_steps=1, norm="l_inf", awp_warmup=0, beta=6.0),
    )  # fmt: skip

    def of_trades(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        adversary = _adversary(tools.TradesAWP, network, 0.005)
        with redirect_stdout(None):
            script.train(network, [(batch.images, batch.labels)], optimizer, 1, adversary)

    mine = _ours(batch, "awp:trades", lambda *_: batch.attacked)
    yield from _steps("awp:trades", batch, mine, of_trades)


def _adversary(kind: Callable[..., Any], network: nn.Module, gamma: float) -> Any:
    proxy = copy.deepcopy(network)
    optimizer = torch.optim.SGD(proxy.parameters(), lr=0.01)
    return kind(model=network, proxy=proxy, proxy_optim=optimizer, gamma=gamma)


class _Quiet:
    """Stands for their meters and progress bars."""

    avg = val = elapsed_td = eta_td = suffix = 0

    def __init__(self, *_: object, **__: object): ...

    def update(self, *_: object) -> None: ...

    def next(self) -> None: ...

    def finish(self) -> None: ...


def ard(originals: Path) -> Iterator[Row]:
    """Adversarially robust distillation: their training of one batch, their attack included."""
    file = originals / "AdversariallyRobustDistillation" / "main.py"
    theirs = functions_of(file, IMPORTS, MODERN)
    batch = batch_of_digits()
    for share in (1.0, 0.5):
        theirs.__dict__.update(
            args=SimpleNamespace(alpha=share, temp=30.0, save_period=100), device=CPU,
            trainloader=[(batch.images, batch.labels)], tqdm=_Listed, teacher_net=batch.teacher,
            KL_loss=nn.KLDivLoss(), XENT_loss=nn.CrossEntropyLoss(),
        )  # fmt: skip
        training = Training(objective="ard", epochs=1, distill_weight=share).resolved()
        yield from _distilled(f"ard at weight {share}", batch, theirs, training)


class _Listed(list[Any]):
    """Stands for their progress bar."""

    def __init__(self, items: list[Any], **_: object):
        super().__init__(items)

    def set_description(self, text: str) -> None: ...


def _distilled(name: str, batch: Batch, theirs: ModuleType, training: Training) -> Iterator[Row]:

    passed: list[Tensor] = []

    def of_theirs(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        theirs.__dict__.update(basic_net=network, net=theirs.AttackPGD(network, STEPS))
        handle = network.register_forward_pre_hook(lambda _, x: passed.append(x[0].detach()))
        with seeded(0, CPU), redirect_stdout(None):
            theirs.train(0, optimizer)
        handle.remove()

    def mine(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        loss, _ = OBJECTIVES.load("ard")(
            network, batch.images, batch.labels,
            Context(training, lambda *_: passed[10], batch.teacher),
        )  # fmt: skip
        loss.backward()
        optimizer.step()

    _after(batch.network, of_theirs)
    yield next(_steps(name, batch, mine, of_theirs))
