"""Criteria by name: scores that say which units matter least.

A criterion is a function ``(layer) -> scores [units]``; units with the lowest scores go first. It
gets one layer of a module at a time; `scoring.score` averages over layers. A unit is a channel or a
single weight; for weights each row of `Layer.weight` has one number.

Its ``needs`` say what it reads and which layers it gets:

- ``filters``: the layers that make channels, and no others.
- ``weights``, ``flow``: the layers that make or read channels.
- ``norms``: normalisations; with ``weights``, those as well.
- ``gradients``, ``learned``: training images and layers that make or read channels.
- ``trained:NAME``: scores that were trained before, by the recipe ``pruning.NAME``.
- ``maps``: feature maps of normalised channels.
- ``inputs``: those of layers that read channels.
- ``threat``: its images are adversarial. ``sparsity``: it knows the target.

``traits``: ``comparable`` (scores of all modules are of one scale: ``global`` may rank them),
``summed`` (over the layers of a module, not averaged), ``channels`` (for these alone).
"""

from __future__ import annotations

import torch
from torch import Tensor

from prune_core.pruning.scores.formulas import shares_of_the_larger, sums_of_distances
from prune_core.pruning.scores.layer import Layer
from prune_core.pruning.scores.maps import greedy_order, nuclear_falls
from prune_core.pruning.scores.synflow import ROUNDS
from prune_core.specs.registry import CRITERIA, method


@method("random", source="the control of every criterion", traits=("comparable",))
def random(layer: Layer) -> Tensor:
    """Uniformly random scores."""
    return torch.rand(len(layer.weight), generator=layer.generator).to(layer.weight.device)


@method(
    "l1", source="Li et al., 2017 (arXiv 1608.08710)", needs=("filters",), traits=("comparable",)
)
def l1(layer: Layer) -> Tensor:
    """The sum of absolute weights of the filter."""
    return layer.weight.abs().sum(1)


@method(
    "l2", source="He et al., 2018 (arXiv 1808.06866)", needs=("filters",), traits=("comparable",)
)
def l2(layer: Layer) -> Tensor:
    """The Euclidean norm of the filter."""
    return layer.weight.square().sum(1).sqrt()


@method("fpgm", source="He et al., 2019 (arXiv 1811.00250), eq. 4", needs=("filters",))
def fpgm(layer: Layer) -> Tensor:
    """The sum of distances to all other filters of the layer: low near their geometric median."""
    return sums_of_distances(layer.weight)


@method(
    "group-l1",
    source="Fang et al., 2023 (arXiv 2301.12900); Torch-Pruning's MagnitudeImportance(p=1)",
    needs=("weights", "norms"),
    traits=("comparable", "channels"),
)
def group_l1(layer: Layer) -> Tensor:
    """The sum of absolute weights that would go, mean over filters, readers and normalisations."""
    return layer.weight.abs().sum(1)


@method(
    "group-l2",
    source="Fang et al., 2023 (arXiv 2301.12900); Torch-Pruning's MagnitudeImportance(p=2)",
    needs=("weights", "norms"),
    traits=("comparable", "channels"),
)
@method(
    "group-norm",
    source="Fang et al., 2023 (arXiv 2301.12900)",
    needs=("weights",),
    traits=("comparable", "summed", "channels"),
)
def group_l2(layer: Layer) -> Tensor:
    """The sum of squared weights that would go with a channel.

    group-norm is the sum over layers; group-l2 is the mean, over layers and normalisations.
    """
    return layer.weight.square().sum(1)


@method(
    "group-fpgm",
    source="Torch-Pruning's FPGMImportance, after He et al., 2019 (arXiv 1811.00250)",
    needs=("weights",),
    traits=("channels",),
)
def group_fpgm(layer: Layer) -> Tensor:
    """The sum of distances between squared weights, mean over the layers that make or read."""
    return sums_of_distances(layer.weight.square())


@method(
    "lamp", source="Lee et al., 2021 (arXiv 2010.07611)", needs=("weights",), traits=("comparable",)
)
def lamp(layer: Layer) -> Tensor:
    """The squared norm, divided by the sum of all squared norms that are at least as large."""
    return shares_of_the_larger(layer.weight.square().sum(1))


@method(
    "bn-scale",
    source="Liu et al., 2017 (arXiv 1708.06519)",
    needs=("norms",),
    traits=("comparable", "channels"),
)
def bn_scale(layer: Layer) -> Tensor:
    """The absolute scale of the channel's normalisation, trained without a sparsity penalty."""
    return layer.weight.abs().sum(1)


@method(
    "taylor",
    source="Molchanov et al., 2019 (arXiv 1906.10771), eq. 9, at gates",
    needs=("gradients",),
    traits=("comparable",),
)
def taylor(layer: Layer) -> Tensor:
    """The squared first-order change of a batch's loss if the unit is removed; mean over batches.

    Of a channel it is that at a gate behind its normalisation.
    """
    return layer.squared_change()


@method(
    "hessian",
    source="LeCun et al., 1990 (OBD); estimated as Dangel et al., 2020 (arXiv 1912.10985)",
    needs=("gradients",),
    traits=("comparable",),
)
def hessian(layer: Layer) -> Tensor:
    """The second-order change of the loss if the unit is removed: half curvature times weight².

    OBD's diagonal in its positive (Levenberg-Marquardt) form. Torch-Pruning's GroupHessian keeps
    the last image alone; this one does not.
    """
    return 0.5 * (layer.curvature * layer.weight.square()).sum(1)


@method(
    "fisher",
    source="Theis et al., 2018 (arXiv 1801.05787), eq. 9",
    needs=("gradients",),
    traits=("comparable",),
)
def fisher(layer: Layer) -> Tensor:
    """Half the mean square, over images, of the first-order change: the empirical Fisher."""
    return 0.5 * layer.squared_change(1)


@method(
    "mad", source="Lee et al., 2022 (MAD, arXiv 2204.02738)", needs=("gradients", "threat"),
    traits=("comparable",),
)  # fmt: skip
def mad(layer: Layer) -> Tensor:
    """The second-order change of the adversarial loss by what a mask takes to lower that loss.

    See `prune_core.pruning.scores.masking`; of a channel, the sum over its weights.
    """
    return layer.saliency.sum(1)


@method(
    "snip",
    source="Lee et al., 2019 (arXiv 1810.02340)",
    needs=("gradients",),
    traits=("comparable",),
)
def snip(layer: Layer) -> Tensor:
    """The sum of absolute weights times gradients, of the trained network and not at its start."""
    return (layer.weight * layer.gradient).abs().sum(1)


@method(
    "grasp",
    source="Wang et al., 2020 (arXiv 2002.07376), eq. 8; temperature 200 as in their code",
    needs=("gradients",),
    traits=("comparable",),
    revision=2,
)
@method(
    "grasp-<k>",
    source="Wang et al., 2020 (arXiv 2002.07376), eq. 8",
    needs=("gradients",),
    traits=("comparable",),
)
def grasp(layer: Layer, k: int = 200) -> Tensor:
    """The weights times the Hessian times the gradient, with logits over k or 200.

    High for what carries gradient flow. With k of 1 the logits are the network's own.
    """
    return (layer.weight * layer.hessian_gradient(k)).sum(1)


@method(
    "synflow",
    source="Tanaka et al., 2020 (arXiv 2006.05467), with their 100 rounds",
    needs=("flow", "sparsity"),
    traits=("comparable",),
)
@method(
    "synflow-<k>",
    source="Tanaka et al., 2020 (arXiv 2006.05467)",
    needs=("flow", "sparsity"),
    traits=("comparable",),
)
def synflow(layer: Layer, k: int | None = None) -> Tensor:
    """When the unit goes, if what adds least to the flow goes first, in k or 100 rounds.

    The share of all units, of whatever module, that go before it: the ranking holds the set that
    the rounds leave at the sparsity, and the order in which the others went. It needs no images.
    """
    return layer.flow_order(k or ROUNDS)


@method(
    "hrank", source="Lin et al., 2020 (arXiv 2002.10179)", needs=("maps",), traits=("channels",)
)
def hrank(layer: Layer) -> Tensor:
    """The mean rank of the channel's feature maps; always 1 if these are single numbers."""
    ranks: Tensor = torch.linalg.matrix_rank(layer.maps)
    return ranks.double().mean(0)


@method("chip", source="Sui et al., 2021 (arXiv 2110.13981)", needs=("maps",), traits=("channels",))
def chip(layer: Layer) -> Tensor:
    """How much the nuclear norm of the feature maps falls if the channel's are set to zero."""
    return nuclear_falls(layer.maps.double().flatten(2))


@method(
    "apoz",
    source="Hu et al., 2016 (arXiv 1607.03250)",
    needs=("maps",),
    traits=("comparable", "channels"),
)
def apoz(layer: Layer) -> Tensor:
    """The share of activations that are not zero: one minus APoZ."""
    return (layer.maps > 0).double().mean((0, 2, 3))


@method(
    "thinet", source="Luo et al., 2017 (arXiv 1707.06342)", needs=("inputs",), traits=("channels",)
)
def thinet(layer: Layer) -> Tensor:
    """The order of greedy removal, which changes the outputs of the next layer least.

    The paper's eq. 6, as a share of the channels, without its rescaling of what is left.
    """
    return greedy_order(layer.inputs.double())


@method("adv-<criterion>", source="that of the criterion, on adversarial images", needs=("threat",))
def adversarial(layer: Layer, criterion: str) -> Tensor:
    """Another criterion, with adversarial images in the place of clean ones."""
    scores: Tensor = CRITERIA.load(criterion)(layer)
    return scores


@method(
    "hydra", source="Sehwag et al., 2020 (arXiv 2002.10509)", needs=("trained:hydra", "sparsity")
)
@method("s2ap", source="Piras et al., 2025 (arXiv 2510.18381)", needs=("trained:s2ap", "sparsity"))
@method(
    "harp", source="Zhao and Wressnegger, 2023 (arXiv 2212.14618)",
    needs=("trained:harp", "sparsity"), traits=("comparable",),
)  # fmt: skip
def trained(layer: Layer) -> Tensor:
    """A score trained for epochs of the whole training set on the loss of the pruned network.

    The recipes ``pruning.hydra`` and ``pruning.harp`` are the authors' where they are left out;
    ``pruning.s2ap`` is HYDRA's with AWP of the scores, whose constants are AWP's and not theirs.
    HARP trains the share of each module too: what it keeps has a score of 1 or more.
    """
    return layer.trained


@method(
    "learned",
    source="ours, after HYDRA (Sehwag et al., 2020, arXiv 2002.10509)",
    needs=("learned", "threat", "sparsity"),
)
def learned(layer: Layer) -> Tensor:
    """HYDRA made cheap: 20 passes over the calibration images, in steps scaled to the scores' size.

    See `prune_core.pruning.scores.learning`.
    """
    return layer.learned
