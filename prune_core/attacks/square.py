"""Square Attack: a random search in square windows that asks for logits alone.

Every query tries one window, the same for all images, and keeps what lowers an image's margin. From
the same state of torch's generator it takes the steps of fra31/auto-attack. (That of torchattacks
takes the length of a window over all colours under l2, where the authors take each colour's.)

Under linf a window does not depend on the images. So where few are left, each tries several of its
next windows in one pass, and goes on after the first that lowers its margin: it takes the same
steps, in fewer passes.

Source:
    Andriushchenko et al., 2020 (arXiv 1912.00049).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor, nn

from prune_core.attacks.kernels import tf32
from prune_core.attacks.norms import NORMS, TINY
from prune_core.attacks.pgd import gaps
from prune_core.specs.settings import Threat

FIRST_SHARE = 0.8
"""The share of the image that the first windows cover."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, after which that share is halved."""
ROOM = {"cpu": 48}
"""Images of a pass that takes little longer than one of fewer, by kind of device: on a CPU it was
tried with ResNet-8, 8x8."""
GPU_ROOM = 512
"""An assumption."""
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
    height, width = images.shape[2:]

    def side(query: int) -> int:
        of_10000 = int(query / queries * 10000) if stretched else query
        share = FIRST_SHARE / 2 ** bisect_left(HALVINGS, of_10000)
        return min(round(math.sqrt(share * height * width)), height, width)

    way = _ahead if threat.norm == "linf" else _one_by_one
    with tf32(allowed=False):  # a window often gains less than TF32 rounds away
        return way(network, images, labels, threat.eps, queries, side)


def _one_by_one(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    queries: int,
    side: Callable[[int], int],
) -> Tensor:
    """Search under l2: where a window is drawn, what it holds is drawn for every image."""
    best = _bumps(images, eps)
    margins = -gaps(network(best), labels)
    for query in range(queries):
        left = (margins > 0).nonzero().flatten()
        if not len(left):
            break
        tried = _move(images[left], best[left], side(query), eps)
        found = -gaps(network(tried), labels[left])
        better = found < margins[left]
        best[left[better]] = tried[better]
        margins[left[better]] = found[better]
    return best


def _ahead(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    queries: int,
    side: Callable[[int], int],
) -> Tensor:
    """Search under linf: images try their next windows together, and keep the first that helps."""
    best = _stripes(images, eps)
    margins = -gaps(network(best), labels)
    asked = torch.zeros_like(labels)  # of each image, its queries so far
    windows = _Windows(images, eps, side)
    room = ROOM.get(images.device.type, GPU_ROOM)
    while True:
        left = ((margins > 0) & (asked < queries)).nonzero().flatten()
        if not len(left):
            break
        ahead = max(1, room // len(left))
        next_ones = asked[left].unsqueeze(1) + torch.arange(ahead, device=left.device)
        windows.draw(min(queries, int(next_ones.max()) + 1), int(asked.max()))
        given = images[left].unsqueeze(1)
        tried = best[left].unsqueeze(1) + windows.changes(next_ones.clamp(max=queries - 1))
        tried = tried.clamp(given - eps, given + eps).clamp(0, 1)
        found = -gaps(network(tried.flatten(0, 1)), labels[left].repeat_interleave(ahead))
        found = found.view(len(left), ahead)
        better = (found < margins[left].unsqueeze(1)) & (next_ones < queries)
        helped, first = better.any(1), better.int().argmax(1)
        asked[left] += torch.where(helped, first + 1, ahead)
        best[left[helped]] = tried[helped, first[helped]]
        margins[left[helped]] = found[helped, first[helped]]
    windows.forget(min(queries, int(asked.max())))
    return best


class _Windows:
    """The windows of a search under linf, drawn one after the other as they are needed."""

    def __init__(self, images: Tensor, eps: float, side: Callable[[int], int]):
        self._images, self._eps, self._side = images, eps, side
        self._places: list[tuple[int, int, int]] = []  # top, left and side
        self._signs: list[Tensor] = []
        self._states: dict[int, Tensor] = {}  # of the generator, before a window was drawn

    def draw(self, count: int, needed: int) -> None:
        """See to it that so many are drawn, of which it is known that so many are needed."""
        self._states = {number: s for number, s in self._states.items() if number >= needed}
        while (number := len(self._places)) < count:
            self._states[number] = torch.get_rng_state()
            side = max(self._side(number), 1)
            top, left = _corner(self._images, side)
            self._places.append((top, left, side))
            self._signs.append(2 * torch.rand(self._images.shape[1]) - 1)

    def forget(self, needed: int) -> None:
        """Leave the generator as if no more had been drawn than were needed."""
        if needed < len(self._places):
            torch.set_rng_state(self._states[needed])

    def changes(self, numbers: Tensor) -> Tensor:
        """Return, by the numbers [n, k] of windows, how they change an image, [n, k, c, h, w]."""
        height, width = self._images.shape[2:]
        known, where = torch.unique(numbers, return_inverse=True)
        chosen = known.tolist()
        change = torch.zeros(len(chosen), len(self._signs[0]), height, width)
        for row, number in zip(change, chosen, strict=True):
            top, left, side = self._places[number]
            window = row[:, top : top + side, left : left + side]
            window += 2 * self._eps * torch.sign(self._signs[number]).view(-1, 1, 1)
        return change.to(self._images)[where]


def _stripes(images: Tensor, eps: float) -> Tensor:
    """Change each column and colour by eps or -eps."""
    count, channels, _, width = images.shape
    return (images + eps * _signs(images, count, channels, 1, width)).clamp(0, 1)


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


def _corner(images: Tensor, side: int) -> tuple[int, int]:
    """Draw where a square begins; as in the authors' code, it ends before the last row."""
    top, left = (int((length - side) * torch.rand(1)) for length in images.shape[2:])
    return top, left


def _window(images: Tensor, side: int) -> Window:
    """Draw a square's place."""
    top, left = _corner(images, side)
    return (slice(None), slice(None), slice(top, top + side), slice(left, left + side))


def _signs(like: Tensor, *shape: int) -> Tensor:
    """Draw -1 or 1, from the generator of the CPU."""
    return torch.sign(2 * torch.rand(shape) - 1).to(like)
