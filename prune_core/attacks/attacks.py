"""Attacks for evaluation by name: those of torchattacks, and our own PGD.

An attack is a function ``(network, images, labels, threat) -> images``. The network is in eval
mode, and the attack gets only images [n, c, h, w] that the network classifies correctly. Values of
placeholders are further arguments (``pgd-20``: ``k=20``). Random starts draw from torch's global
generator, which `prune_core.attacks.evaluation` seeds. An attack with the trait ``unbounded`` may
leave the ball of the threat; it gets every image and counts in no worst case. One with the trait
``nearest`` may too: it returns each image's nearest misclassified one, and the evaluation keeps the
distances. One with ``compares`` decides by small differences of margins, for which bfloat16 is too
coarse, one with ``float32`` by smaller ones. One that works with so many classes or more says so
(``needs=("threat", "classes:4")``).

Attacks stop attacking an image once it is misclassified. For this PGD is our own
(`prune_core.attacks.pgd`), and APGD sees the network through `Dropping`; tests compare both with
torchattacks from the same starts. ``autoattack`` here has the settings of its authors' standard
version (100 steps, 9 targets, 5,000 queries), which that of torchattacks has not; docs/methods.md
says what it was compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prune_core.attacks import borrowed, carlini_wagner, lowered, nearest
from prune_core.attacks.evaluation import right, within
from prune_core.attacks.pgd import ascend, margin, pursue, step_size
from prune_core.attacks.square import search as random_search
from prune_core.specs.keys import derive_seed
from prune_core.specs.registry import ATTACKS, CORRUPTIONS, method
from prune_core.specs.settings import Threat


@method("clean")
def clean(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat | None) -> Tensor:
    """No attack."""
    del network, labels, threat
    return images


@method(
    "fgsm",
    source="Goodfellow et al., 2015 (arXiv 1412.6572)",
    needs=("threat",),
)
def fgsm(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """One gradient step of length eps, signed under linf and normalised under l2."""
    return ascend(network, images, labels, threat, 1, threat.eps, start="image")


@method(
    "pgd-<k>",
    source="Madry et al., 2018 (arXiv 1706.06083)",
    needs=("threat",),
)
def pgd(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """Projected gradient ascent of k steps of 2.5 eps / k from a random start."""
    return pursue(network, images, labels, threat, k, step_size(threat, k))


@method(
    "pgd-<k>-<n>",
    source="Madry et al., 2018 (arXiv 1706.06083)",
    needs=("threat",),
)
def pgd_restarted(
    network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int, n: int
) -> Tensor:
    """PGD of k steps from up to n random starts, until an image is misclassified."""
    attacked = images.clone()
    left = torch.arange(len(images), device=images.device)
    for _ in range(n):
        attacked[left] = pgd(network, images[left], labels[left], threat, k)
        left = left[right(network, attacked[left], labels[left])]
        if not len(left):
            break
    return attacked


@method("cw", source="Carlini and Wagner, 2017 (arXiv 1608.04644)", needs=("threat",), revision=2)
def cw(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """The attack of Carlini and Wagner: under l2 as published, under linf 50 PGD steps on its loss.

    Under l2 it takes thousands of passes: 9 rounds of at most 1,000 steps.
    """
    return cw_of(network, images, labels, threat, 50 if threat.norm == "linf" else 1000)


@method(
    "cw-<k>",
    source="Carlini and Wagner, 2017 (arXiv 1608.04644)",
    needs=("threat",),
)
def cw_of(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """As cw, with k steps: under l2 in each round, as much longer as they are fewer.

    PGD on this loss is due to Madry et al.
    """
    if threat.norm == "linf":
        return pursue(network, images, labels, threat, k, step_size(threat, k), loss=margin)
    return carlini_wagner.search(network, images, labels, threat.eps, k)


@method(
    "apgd-ce",
    source="Croce and Hein, 2020 (arXiv 2003.01690)",
    needs=("threat",),
)
def apgd_ce(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """PGD with adaptive step size on the cross-entropy, 100 steps."""
    return borrowed.apgd(network, images, labels, threat, "ce")


@method(
    "apgd-dlr",
    source="Croce and Hein, 2020 (arXiv 2003.01690)",
    needs=("threat", "classes:3"),
)
def apgd_dlr(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """As apgd-ce, but on the difference of logits ratio; it needs 3 classes or more."""
    borrowed.enough_classes(network, images, "apgd-dlr", 3)
    return borrowed.apgd(network, images, labels, threat, "dlr")


@method(
    "fab",
    source="Croce and Hein, 2020 (arXiv 1907.02044)",
    needs=("threat",),
    traits=("compares",),
)
def fab(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """The fast adaptive boundary attack, untargeted, 100 steps."""
    return borrowed.run(borrowed.fab(network, images, threat, targeted=False), images, labels)


@method(
    "square",
    source="Andriushchenko et al., 2020 (arXiv 1912.00049)",
    needs=("threat",),
    traits=("compares", "float32"),
    revision=2,
)
def square(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Random search without gradients, 5,000 queries."""
    return random_search(network, images, labels, threat, 5000)


@method(
    "square-<k>",
    source="Andriushchenko et al., 2020 (arXiv 1912.00049)",
    needs=("threat",),
    traits=("compares", "float32"),
    revision=2,
)
def square_of(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """Random search without gradients, k queries."""
    return random_search(network, images, labels, threat, k)


@method(
    "autoattack",
    source="Croce and Hein, 2020 (arXiv 2003.01690)",
    needs=("threat", "classes:4"),
    traits=("compares",),
    revision=2,
)
def autoattack(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """The standard AutoAttack: APGD-CE, targeted APGD, targeted FAB, Square; 4 classes or more."""
    targets = min(borrowed.enough_classes(network, images, "autoattack", 4), 10) - 1

    def search(images: Tensor, labels: Tensor) -> Tensor:
        return random_search(network, images, labels, threat, 5000, stretched=False)

    attacked = borrowed.apgd(network, images, labels, threat, "ce")
    for attack in (
        borrowed.targeted_apgd(network, threat, targets),
        borrowed.fab(network, images, threat, targeted=True),
        search,
    ):
        left = right(network, attacked, labels)
        if left.any():
            attacked[left] = borrowed.run(attack, images[left], labels[left])
    return attacked


@method(
    "fmn-<k>",
    source="Pintor et al., 2021 (arXiv 2102.12827)",
    needs=("threat",),
    traits=("nearest",),
)
def fmn(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """The fast minimum-norm attack, k steps: each image's distance is kept too."""
    return nearest.fmn(network, images, labels, threat.norm, k)


@method(
    "ho-fmn-<k>",
    source="Mura et al., 2024 (arXiv 2407.08806)",
    needs=("threat", "classes:3"),
    traits=("nearest",),
)
def ho_fmn(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, k: int) -> Tensor:
    """The same of 200 steps by settings that are the best of k; 32 in the pruning benchmark."""
    borrowed.enough_classes(network, images, "ho-fmn", 3)
    return nearest.ho_fmn(network, images, labels, threat.norm, k)


@method("<attack>+<then>", source="a worst case over attacks")
def cascade(
    network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, attack: str, then: str
) -> Tensor:
    """One attack after another, each on the images that are still classified correctly."""
    attacked = _part(network, images, labels, threat, attack).clone()
    left = right(network, attacked, labels)
    if left.any():
        attacked[left] = _part(network, images[left], labels[left], threat, then)
    return attacked


@method("bfloat16:<attack>", source="ours", traits=("bfloat16",))
def in_bfloat16(
    network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, attack: str
) -> Tensor:
    """One that follows gradients, in bfloat16; what that cannot decide, in float32."""
    method = ATTACKS.load(attack)
    return lowered.attacked_in(lowered.BFLOAT16, method, network, images, labels, threat)


@method("tf32:<attack>", source="ours", traits=("tf32",))
def in_tf32(
    network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, attack: str
) -> Tensor:
    """Another attack by a GPU's TF32; what that cannot decide, in float32."""
    method = ATTACKS.load(attack)
    return lowered.attacked_in(lowered.TF32, method, network, images, labels, threat)


def _part(network: nn.Module, images: Tensor, labels: Tensor, threat: Threat, name: str) -> Tensor:
    attacked: Tensor = ATTACKS.load(name)(network, images, labels, threat)
    return within(attacked, images, threat) if "nearest" in ATTACKS[name].traits else attacked


@method(
    "corruption-<corruption>-<severity>",
    source="Hendrycks and Dietterich, 2019 (arXiv 1903.12261)",
    traits=("unbounded",),
    revision=2,
)
def corruption(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat | None,
    corruption: str,
    severity: int,
) -> Tensor:
    """A common corruption at a severity from 1 to 5; every network gets the same images."""
    del network, labels, threat
    seed = derive_seed("corruption", corruption, severity)
    generator = torch.Generator().manual_seed(seed)
    corrupted: Tensor = CORRUPTIONS.load(corruption)(images.cpu(), severity, generator)
    return corrupted.clamp(0, 1).to(images.device)


@method(
    "corruptions-<severity>",
    source="Hendrycks and Dietterich, 2019 (arXiv 1903.12261)",
    traits=("unbounded",),
    revision=2,
)
def corruptions(
    network: nn.Module, images: Tensor, labels: Tensor, threat: Threat | None, severity: int
) -> Tensor:
    """All common corruptions, one for each image in turn: their mean at the cost of one."""
    names = list(CORRUPTIONS.methods)
    corrupted = images.clone()
    for index, name in enumerate(names):
        mine = slice(index, None, len(names))
        if len(images[mine]):
            corrupted[mine] = corruption(network, images[mine], labels, threat, name, severity)
    return corrupted


@method(
    "corruption-files-<file>-<severity>",
    source="Hendrycks and Dietterich, 2019 (arXiv 1903.12261)",
    needs=("files",),
    traits=("unbounded",),
)
def corruption_files(
    network: nn.Module, images: Tensor, labels: Tensor, threat: None, file: str, severity: int
) -> Tensor:
    """Corrupted copies of the test images from FILE.npy, as CIFAR-10-C has them, at a severity.

    The evaluation reads them in place of the test images (`prune_core.data.corrupted`).
    """
    del network, labels, threat, file, severity
    return images
