"""Square Attack: a random search in square windows that asks for logits alone.

Every query tries one window, the same for all images, and keeps what lowers an image's margin. From
the same state of torch's generator it takes the steps of fra31/auto-attack. (That of torchattacks
takes the length of a window over all colours under l2, where the authors take each colour's.)

Source:
    Andriushchenko et al., 2020 (arXiv 1912.00049).
"""

from __future__ import annotations

import math
from bisect import bisect_left

import torch
from torch import Tensor, nn

from prune_core.attacks.norms import NORMS, TINY
from prune_core.attacks.pgd import gaps
from prune_core.specs.settings import Threat

FIRST_SHARE = 0.8
"""The share of the image that the first windows cover."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, after which that share is halved."""
Window = tuple[slice, ...]


@torch.no_grad()
def search(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    queries: int,
    *,
    stretched: bool = True,
) -> Tensor:
    """Return images attacked by random search; one that is misclassified is left as it is.

    Args:
        network: From images to logits [n, classes], in eval mode.
        images: [n, c, h, w] in [0,1].
        labels: [n].
        threat: The norm and the radius of the ball.
        queries: How often the network is asked about an image, at most.
        stretched: Whether windows shrink over ``queries`` as over the 10,000 that their sizes are
            for, as in the attack's own code. AutoAttack does not stretch them.
    """
    start, propose = (_stripes, _flip) if threat.norm == "linf" else (_bumps, _move)
    best = start(images, threat.eps)
    margins = -gaps(network(best), labels)
    height, width = images.shape[2:]
    for query in range(queries):
        left = (margins > 0).nonzero().flatten()
        if not len(left):
            break
        share = FIRST_SHARE / 2 ** bisect_left(HALVINGS, _of_10000(query, queries, stretched))
        side = round(math.sqrt(share * height * width))
        tried = propose(images[left], best[left], min(side, height, width), threat.eps)
        found = -gaps(network(tried), labels[left])
        better = found < margins[left]
        best[left[better]] = tried[better]
        margins[left[better]] = found[better]
    return best


def _of_10000(query: int, queries: int, stretched: bool) -> int:
    return int(query / queries * 10000) if stretched else query


def _stripes(images: Tensor, eps: float) -> Tensor:
    """Change each column and colour by eps or -eps."""
    count, channels, _, width = images.shape
    return (images + eps * _signs(images, count, channels, 1, width)).clamp(0, 1)


def _flip(images: Tensor, best: Tensor, side: int, eps: float) -> Tensor:
    """Move a window to the edge of the ball, each colour up or down."""
    side = max(side, 1)
    window = _window(images, side)
    change = torch.zeros_like(images[0])
    change[window[1:]] = 2 * eps * _signs(images, images.shape[1], 1, 1)
    return (best + change).clamp(images - eps, images + eps).clamp(0, 1)


def _bumps(images: Tensor, eps: float) -> Tensor:
    """Change the whole image by a chessboard of bumps."""
    count, channels, height, width = images.shape
    change = torch.zeros_like(images)
    side = max(height // 5, 1)
    edge = (height - 5 * side) // 2
    for row in range(height // side):
        for column in range(width // side):
            bump = _bump_pair(images, side) * _signs(images, count, channels, 1, 1)
            top, left = edge + row * side, edge + column * side
            tile = change[:, :, top : top + side, left : left + side]
            tile += bump[:, :, : tile.shape[2], : tile.shape[3]]
    return _at_edge(images, change, eps)


def _move(images: Tensor, best: Tensor, side: int, eps: float) -> Tensor:
    """Move a second window's share of the perturbation into a bump in the first."""
    count, channels, height, width = images.shape
    side = max(side, 3)
    side = min(side + 1 - side % 2, height, width)
    first, second = _window(images, side), _window(images, side)
    change = best - images
    both = torch.zeros_like(images[:1, :1])
    both[first] = both[second] = 1
    unused = (eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp(min=0) / channels
    length = (unused + (change * both).square().sum((2, 3), keepdim=True)).sqrt()
    bump = _bump_pair(images, side) * _signs(images, count, channels, 1, 1)
    bump = _unit(bump + _unit(change[first]))
    change[second] = 0
    change[first] = bump * length
    return _at_edge(images, change, eps)


def _at_edge(images: Tensor, change: Tensor, eps: float) -> Tensor:
    lengths = NORMS["l2"].length(change).view(-1, 1, 1, 1)
    return (images + change / (lengths + TINY) * eps).clamp(0, 1)


def _unit(windows: Tensor) -> Tensor:
    """Divide each image's and colour's window by its length."""
    return windows / (TINY + windows.square().sum((2, 3), keepdim=True).sqrt())


def _bump_pair(like: Tensor, side: int) -> Tensor:
    """Return a bump above its negative, or beside it, as a square [s, s] of length 1."""
    pair = torch.cat([_bump(side // 2, side), -_bump(side - side // 2, side)])
    pair /= torch.linalg.vector_norm(pair)
    return (pair.T if torch.rand(1) > 0.5 else pair).to(like)


def _bump(height: int, width: int) -> Tensor:
    """Return a bump [h, w] of length 1: square terraces, each a smaller step above the last."""
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    steps = 1 / torch.arange(1, max(height, width) // 2 + 2) ** 2
    bump = steps.flip(0).cumsum(0).flip(0)[torch.maximum(rows.unsqueeze(1), columns)]
    length: Tensor = torch.linalg.vector_norm(bump)
    return bump / length


def _window(images: Tensor, side: int) -> Window:
    """Return a square's place; as in the authors' code, never at the last row or column."""
    top, left = (int((length - side) * torch.rand(1)) for length in images.shape[2:])
    return (slice(None), slice(None), slice(top, top + side), slice(left, left + side))


def _signs(like: Tensor, *shape: int) -> Tensor:
    """Draw -1 or 1, from the generator of the CPU."""
    return torch.sign(2 * torch.rand(shape) - 1).to(like)
