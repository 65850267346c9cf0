"""Signals: what criteria read from a network and from training images, for all layers at once.

A signal is computed when it is first used. All criteria of a network use the same images; if the
stage has a threat, the images are adversarial. The network stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from prune_core.attacks.pgd import pgd
from prune_core.data.datasets import Dataset
from prune_core.data.splits import drawn
from prune_core.models.state import evaluating
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.prunable.masks import maskable
from prune_core.pruning.scores.learning import learned_scores, share_removed
from prune_core.pruning.scores.masking import adversarial_saliency
from prune_core.pruning.scores.synflow import removal_order
from prune_core.specs.keys import derive_seed
from prune_core.specs.settings import Calibration
from prune_core.specs.stages import Scores

Batch = tuple[Tensor, Tensor]
ByLayer = dict[str, Tensor]

PROBES = 32
"""The number of passes over the calibration images that estimate the curvature."""
MAP_IMAGES = 64
"""The number of images whose feature maps are read; HRank's authors find that few suffice."""


class Signals:
    """What criteria may read of a network. Tensors by layer are shaped as the layer's weight.

    Args:
        network: The network; it stays as it is.
        data: Only its training images are read.
        modules: The prunable modules.
        stage: The criterion, its calibration and its threat.
        trained: Scores by module [units] that were trained before; None where there are none.
    """

    def __init__(
        self,
        network: nn.Module,
        data: Dataset,
        modules: Sequence[PrunableModule],
        stage: Scores,
        trained: Mapping[str, Tensor] | None = None,
    ):
        self.network = network
        self.data = data
        self.modules = modules
        self.stage = stage
        self._trained = trained
        self.calibration = stage.calibration or Calibration()
        self.weights = {n: m.get_parameter("weight") for n, m in maskable(network).items()}
        self._hessian_gradients: dict[float, ByLayer] = {}
        self._flow_orders: dict[int, dict[str, Tensor]] = {}
        self._squared_changes: dict[int, dict[str, Tensor]] = {}

    @cached_property
    def batches(self) -> list[Batch]:
        """The calibration images in [0,1], attacked if there is a threat, and their labels."""
        key, calibration = self.stage.network.key, self.calibration
        device = self.data.train.labels.device
        train = self.data.train
        index = drawn(train.labels, calibration.samples, derive_seed(key, "calibration"))
        sample = train.take(index)
        batches = list(sample.batches(calibration.batch_size))
        threat = self.stage.threat
        if threat is None:
            return batches
        start = torch.Generator(device).manual_seed(derive_seed(key, "calibration attack"))
        steps = calibration.attack_steps
        return [(pgd(self.network, x, y, threat, steps, start), y) for x, y in batches]

    @property
    def count(self) -> int:
        """The number of calibration images."""
        return sum(len(labels) for _, labels in self.batches)

    @cached_property
    def gradient(self) -> ByLayer:
        """The gradient of the mean cross-entropy."""
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        with evaluating(self.network), torch.enable_grad():
            for images, labels in self.batches:
                for name, gradient in self._gradients(images, labels).items():
                    total[name] += gradient / self.count
        return total

    @cached_property
    def curvature(self) -> ByLayer:
        """The diagonal of the Gauss-Newton matrix of the mean cross-entropy, never negative.

        For a softmax it is the mean square of the gradients of single images, with labels drawn
        from the network's own output. A random sign for each image lets one backward pass serve a
        whole batch: the expected square of the signed sum is the sum of squares.
        """
        total = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        draw = torch.Generator().manual_seed(derive_seed(self.stage.network.key, "probes"))
        with evaluating(self.network), torch.enable_grad():
            for images, _ in self.batches * PROBES:
                logits = self.network(images)
                odds = logits.detach().softmax(1).cpu()
                labels = odds.multinomial(1, generator=draw).flatten().to(images.device)
                signs = (torch.randint(2, labels.shape, generator=draw) * 2 - 1).to(logits)
                loss = (signs * F.cross_entropy(logits, labels, reduction="none")).sum()
                for name, gradient in self._by_weight(loss).items():
                    total[name] += gradient.square() / (PROBES * self.count)
        return total

    @cached_property
    def saliency(self) -> ByLayer:
        """The second-order change of the loss by what a mask fitted to the images takes away."""
        return adversarial_saliency(self.network, list(self.weights), self.batches)

    def hessian_gradient(self, temperature: float) -> ByLayer:
        """Return the Hessian of the mean cross-entropy times its gradient.

        Args:
            temperature: What the logits are divided by.
        """
        if temperature not in self._hessian_gradients:
            product = self._hessian_times_gradient(temperature)
            self._hessian_gradients[temperature] = product
        return self._hessian_gradients[temperature]

    def flow_order(self, rounds: int) -> dict[str, Tensor]:
        """Return, by module, the share of all units that SynFlow removes before each [units]."""
        if rounds not in self._flow_orders:
            removed = share_removed(self.stage)
            if self.stage.unit == "weight":  # the sparsity is of all parameters
                whole = sum(parameter.numel() for parameter in self.network.parameters())
                removed *= whole / sum(module.units for module in self.modules)
            self._flow_orders[rounds] = removal_order(
                self.network, self.modules, self.data.shape, max(0.0, 1 - removed), rounds
            )
        return self._flow_orders[rounds]

    def squared_changes(self, size: int) -> dict[str, Tensor]:
        """Return, by module, how much the loss changes to first order without a unit, squared.

        What is removed is what reads the unit: the change is the sum of all weights that read it,
        times their gradients. That is the gradient at a gate behind its normalisation.

        Args:
            size: The number of images in a batch; squares are averaged over batches.

        Returns:
            Mean squares [units].
        """
        if size not in self._squared_changes:
            self._squared_changes[size] = self._mean_squares(size)
        return self._squared_changes[size]

    def watch(self, hooks: Mapping[str, Callable[[Tensor, Tensor], None]]) -> None:
        """Run the network on the first `MAP_IMAGES` images.

        Args:
            hooks: By layer, what is called with its input and its output for each batch.
        """
        handles = []
        for name, look in hooks.items():

            def hook(
                _layer: nn.Module,
                inputs: tuple[Tensor, ...],
                output: Tensor,
                look: Callable[[Tensor, Tensor], None] = look,
            ) -> None:
                look(inputs[0].detach(), output.detach())

            handles.append(self.network.get_submodule(name).register_forward_hook(hook))
        try:
            with evaluating(self.network), torch.no_grad():
                for images in self._first_images():
                    self.network(images)
        finally:
            for handle in handles:
                handle.remove()

    def _first_images(self) -> Iterator[Tensor]:
        left = MAP_IMAGES
        for images, _ in self.batches:
            yield from torch.split(images[:left], 16)
            left -= len(images)
            if left <= 0:
                return

    @cached_property
    def learned(self) -> dict[str, Tensor]:
        """By module, a score of every unit, trained on the loss of the pruned network."""
        unattacked = self.stage.model_copy(update={"threat": None})
        clean = Signals(self.network, self.data, self.modules, unattacked).batches
        attack_steps = self.calibration.attack_steps
        return learned_scores(self.network, self.modules, clean, self.stage, attack_steps)

    @property
    def trained(self) -> Mapping[str, Tensor]:
        """By module, a score of every unit that was trained before scoring."""
        if self._trained is None:
            raise ValueError(
                f"criterion {self.stage.criterion!r} reads scores that were trained: see "
                "prune_core.training"
            )
        return self._trained

    def _gradients(self, images: Tensor, labels: Tensor) -> ByLayer:
        return self._by_weight(F.cross_entropy(self.network(images), labels, reduction="sum"))

    def _by_weight(self, loss: Tensor) -> ByLayer:
        weights = list(self.weights.values())
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        return dict(zip(self.weights, gradients, strict=True))

    def _mean_squares(self, size: int) -> dict[str, Tensor]:
        batches = [
            batch
            for images, labels in self.batches
            for batch in zip(torch.split(images, size), torch.split(labels, size), strict=True)
        ]
        device = batches[0][0].device
        total = {module.name: torch.zeros(module.units, device=device) for module in self.modules}
        with evaluating(self.network), torch.enable_grad():
            for images, labels in batches:
                gradients = self._gradients(images, labels)
                with torch.no_grad():
                    changes = {n: self.weights[n] * g / len(labels) for n, g in gradients.items()}
                for module in self.modules:
                    parts = [m.rows(changes[m.layer]).sum(1) for m in module.readers()]
                    total[module.name] += torch.stack(parts).sum(0).square() / len(batches)
        return total

    def _hessian_times_gradient(self, temperature: float) -> ByLayer:
        zeros = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        gradient, total = zeros, {name: zero.clone() for name, zero in zeros.items()}
        weights = list(self.weights.values())

        def loss_of(images: Tensor, labels: Tensor) -> Tensor:
            logits = self.network(images) / temperature
            return F.cross_entropy(logits, labels, reduction="sum") / self.count

        # Fused attention has no second derivative.
        plain = sdpa_kernel(SDPBackend.MATH)
        with evaluating(self.network), torch.enable_grad(), plain:
            for batch in self.batches:
                for name, part in self._by_weight(loss_of(*batch)).items():
                    gradient[name] += part
            for batch in self.batches:
                first = torch.autograd.grad(
                    loss_of(*batch), weights, create_graph=True, materialize_grads=True
                )
                along = [(g * gradient[n]).sum() for n, g in zip(self.weights, first, strict=True)]
                second = torch.autograd.grad(
                    torch.stack(along).sum(), weights, materialize_grads=True
                )
                for name, product in zip(self.weights, second, strict=True):
                    total[name] += product.detach()
        return total
