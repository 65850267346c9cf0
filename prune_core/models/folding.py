"""Folding: a copy of a network, its twin, on which attacks run faster.

In eval mode a BatchNorm only scales and shifts its input. The convolution before it can do that
itself (Jacob et al., 2018, arXiv 1712.05877, section 3.2), so the twin computes the same function
up to rounding. The twin's weights require no gradients. Do not measure weights on it: their norms
differ from the network's.
"""

from __future__ import annotations

import logging
from collections import Counter

import torch
from torch import Tensor, fx, nn

from prune_core.models.state import copied

log = logging.getLogger(__name__)


class Twin(nn.Module):
    """A frozen copy of a network in eval mode, with its BatchNorms folded into convolutions.

    It does not change with the network until `refresh` is called. If torch.fx cannot trace the
    network, or there is no BatchNorm to fold, it is a plain copy.

    Args:
        network: The network to copy; it stays as it is.
        dtype: The precision to compute in. Images and logits are float32 in any case.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        self._pairs = foldable(copied(network))  # tracing leaves stand-ins in what it traces
        twin = copied(network)
        for convolution, norm in self._pairs:
            layer = twin.get_submodule(convolution)
            if layer.bias is None:
                channels = int(layer.get_parameter("weight").shape[0])
                layer.bias = nn.Parameter(layer.get_parameter("weight").new_zeros(channels))
            twin.set_submodule(norm, nn.Identity())
        folded = {name for name, _ in self._pairs}
        self._copied = [
            name
            for name, _ in (*twin.named_parameters(), *twin.named_buffers())
            if name.rpartition(".")[0] not in folded or not name.endswith((".weight", ".bias"))
        ]
        twin.to(dtype).requires_grad_(requires_grad=False)
        # Faster on CPUs, and on GPUs in half precision.
        on_cpu = next(network.parameters()).device.type == "cpu"
        flat = all(tensor.dim() < 5 for tensor in _tensors(twin).values())  # torch has it for no 3d
        last = flat and (on_cpu or dtype != torch.float32)
        self._format = torch.channels_last if last else torch.contiguous_format
        self._dtype = dtype
        self._lowered: list[Twin] = []  # a list, so that it is no part of this one's state
        self.twin = twin.to(memory_format=self._format)
        self.eval()
        self.refresh(network)

    def train(self, mode: bool = True) -> Twin:
        """Stay in eval mode: code of attacks sets modes, and puts them back as it sees fit."""
        del mode
        return super().train(mode=False)

    @torch.no_grad()
    def refresh(self, network: nn.Module) -> None:
        """Take over the current weights and statistics of the network that it was made from."""
        self._lowered.clear()
        theirs, ours = _tensors(network), _tensors(self.twin)
        if self._copied:
            torch._foreach_copy_(
                [ours[name] for name in self._copied], [theirs[name] for name in self._copied]
            )
        if not self._pairs:
            return
        layers, norms = zip(*self._pairs, strict=True)
        statistics = [_statistics(network.get_submodule(norm)) for norm in norms]
        variances, means, gains, shifts, eps = (
            list(each) for each in zip(*statistics, strict=True)
        )
        scales = torch._foreach_rsqrt(torch._foreach_add(variances, eps))
        torch._foreach_mul_(scales, gains)
        biases = list(torch._foreach_sub(shifts, torch._foreach_mul(means, scales)))
        for index, layer in enumerate(layers):
            if (bias := theirs.get(f"{layer}.bias")) is not None:
                biases[index] = biases[index] + bias * scales[index]
        weights = torch._foreach_mul(
            [theirs[f"{layer}.weight"] for layer in layers],
            [scale.view(-1, 1, 1, 1) for scale in scales],
        )
        torch._foreach_copy_([ours[f"{layer}.weight"] for layer in layers], weights)
        torch._foreach_copy_([ours[f"{layer}.bias"] for layer in layers], biases)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of images [n, c, h, w] in [0,1]."""
        try:
            return self._logits(images)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of the network's own code
            contiguous = torch.contiguous_format
            if self._format is contiguous:
                raise
            # It may flatten by `view`, which takes images channel by channel only.
            self._format = contiguous
            self.twin.to(memory_format=contiguous)
            return self._logits(images)

    def in_bfloat16(self) -> Twin:
        """Return a copy as it is now that computes in bfloat16; it is made once."""
        if not self._lowered:
            self._lowered.append(Twin(self.twin, torch.bfloat16))
        return self._lowered[0]

    def _logits(self, images: Tensor) -> Tensor:
        images = images.to(self._dtype).contiguous(memory_format=self._format)
        logits: Tensor = self.twin(images)
        return logits.float()


def foldable(network: nn.Module) -> list[tuple[str, str]]:
    """Return the pairs of a convolution and the BatchNorm that alone reads it.

    Args:
        network: A network of any kind; there are no pairs if torch.fx cannot trace it.

    Returns:
        For each pair the names of its two layers.
    """
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception as error:
        # Tracing runs the network's own code on stand-ins, so it may raise any error. Attacks on a
        # network that cannot be traced are just as right, only slower.
        log.info("%s cannot be traced, so it is not folded: %s", type(network).__name__, error)
        return []
    owners = Counter(id(p) for _, p in network.named_parameters(remove_duplicate=False))
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    pairs = []
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        pair = (str(before.target), str(node.target))
        convolution, norm = (network.get_submodule(name) for name in pair)
        if (
            type(convolution) is nn.Conv2d  # subclasses may do more
            and type(norm) is nn.BatchNorm2d
            and norm.track_running_stats
            and len(before.users) == 1
            and all(calls.count(name) == 1 for name in pair)
            and all(owners[id(weight)] == 1 for weight in convolution.parameters())  # not tied
        ):
            pairs.append(pair)
    return pairs


def _statistics(norm: nn.Module) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Return a BatchNorm's variance, mean, weight, bias and epsilon."""
    assert isinstance(norm, nn.BatchNorm2d)  # noqa: S101 - `foldable` chose it so
    variance, mean = norm.running_var, norm.running_mean
    if variance is None or mean is None:
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    weight = torch.ones_like(variance) if norm.weight is None else norm.weight
    bias = torch.zeros_like(mean) if norm.bias is None else norm.bias
    return variance, mean, weight, bias, norm.eps


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
