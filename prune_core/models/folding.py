"""Folding: a twin of a network that attacks run faster on.

In eval mode a BatchNorm that follows a convolution is a scale and a shift of its output, which the
convolution can do itself (Jacob et al., 2018, arXiv 1712.05877, section 3.2): the twin computes the
same function up to rounding. Its weights ask for no gradients, so none are computed. Never
measure weights on it: their norms are others.
"""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, fx, nn

log = logging.getLogger(__name__)


class Twin(nn.Module):
    """A frozen copy of a network in eval mode, its BatchNorms folded; `refresh` follows it.

    Images and logits are float32, whatever ``dtype`` it computes in. Where torch.fx cannot trace
    the network, or no BatchNorm follows a convolution alone, it is a copy and no faster.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype = torch.float32):
        super().__init__()
        self._pairs = foldable(network)
        twin = copy.deepcopy(network)
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
        last = on_cpu or dtype != torch.float32
        self._format = torch.channels_last if last else torch.contiguous_format
        self._dtype = dtype
        self.twin = twin.to(memory_format=self._format).eval()
        self.refresh(network)

    @torch.no_grad()
    def refresh(self, network: nn.Module) -> None:
        """Take over the network's present weights and statistics."""
        theirs = _tensors(network)
        ours = _tensors(self.twin)
        for name in self._copied:
            ours[name].copy_(theirs[name])
        for convolution, norm in self._pairs:
            bn = network.get_submodule(norm)
            assert isinstance(bn, nn.BatchNorm2d)  # noqa: S101 - `foldable` chose it so
            variance, mean = _statistics(bn)
            scale = torch.rsqrt(variance + bn.eps)
            if bn.weight is not None:
                scale = scale * bn.weight
            shift = -mean * scale if bn.bias is None else bn.bias - mean * scale
            bias = theirs.get(f"{convolution}.bias")
            if bias is not None:
                shift = shift + bias * scale
            weight = theirs[f"{convolution}.weight"]
            ours[f"{convolution}.weight"].copy_(weight * scale.view(-1, 1, 1, 1))
            ours[f"{convolution}.bias"].copy_(shift)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, classes] of images [n, c, h, w] in [0,1]."""
        images = images.to(self._dtype).contiguous(memory_format=self._format)
        logits: Tensor = self.twin(images)
        return logits.float()


def foldable(network: nn.Module) -> list[tuple[str, str]]:
    """Return the convolutions, each with the BatchNorm that alone reads it, by name."""
    try:
        graph = fx.symbolic_trace(network).graph
    except Exception as error:
        # Tracing runs the network's own code on stand-ins, so any error may come of it. A network
        # that cannot be traced needs no twin to be right, only to be faster.
        log.info("%s is attacked unfolded: %s", type(network).__name__, error)
        return []
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
        ):
            pairs.append(pair)
    return pairs


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    if norm.running_var is None or norm.running_mean is None:
        raise ValueError("a BatchNorm without running statistics cannot be folded")
    return norm.running_var, norm.running_mean


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}
