"""HYDRA: scores trained as a network is, by the recipe ``pruning.hydra``, before anything is cut.

The recipe's default is the authors': TRADES for 20 epochs of the whole training set, SGD at 0.1
with momentum 0.9, weight decay 1e-4 and a cosine. As in their code, weights and biases are frozen,
scores start at the weights over their layer's largest, scaled as Kaiming's uniform initialisation
would be, every layer keeps the same share by absolute score, and BatchNorms are trained along.
Theirs go on into the fine-tuning; ours are left behind, since a criterion says what is kept and no
more. For channels, which their code does not prune, a score starts at the norm of all weights that
would go.

Source:
    Sehwag et al., 2020 (arXiv 2002.10509), and github.com/inspire-group/hydra.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from prune_core.models.state import copied
from prune_core.pruning.prunable.groups import PrunableModule
from prune_core.pruning.scores.learning import first_scores, gated_logits, share_removed
from prune_core.specs.stages import Scores


class Learner(nn.Module):
    """A network whose scores can be trained; it prunes itself by them in every pass.

    Args:
        network: The network to prune, which is copied.
        modules: Its prunable modules.
        stage: The sparsity and the unit that scores are learned for.
    """

    def __init__(self, network: nn.Module, modules: Sequence[PrunableModule], stage: Scores):
        super().__init__()
        self.network = copied(network).requires_grad_(requires_grad=False)
        for layer in self.network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.requires_grad_()
        self._modules_, self._removed = list(modules), share_removed(stage)
        self._scores = nn.ParameterList(
            # Kaiming's uniform distribution reaches to the root of 6 over the inputs of a unit.
            math.sqrt(6 / math.prod(module.shape[1:])) * first_scores(network, module).detach()
            for module in modules
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of the network as it would be pruned now."""
        if isinstance(images, fx.Proxy):  # traced, for folding: gates change no layer
            return self.network(images)
        scores = self._by_module()
        return gated_logits(self.network, self._modules_, scores, self.removed(), images)

    def removed(self) -> dict[str, float | Tensor]:
        """Return the share of its units that each module is without now."""
        return {module.name: self._removed for module in self._modules_}

    def penalty(self, epoch: int) -> Tensor:
        """Return what is added to the loss of a step in an epoch, counted from 0: nothing."""
        del epoch
        return torch.zeros(())

    def scores(self) -> dict[str, Tensor]:
        """Return the scores as they are now, by module [units]."""
        return {name: score.detach() for name, score in self._by_module().items()}

    def _by_module(self) -> dict[str, Tensor]:
        names = (module.name for module in self._modules_)
        return dict(zip(names, (score.abs() for score in self._scores), strict=True))
