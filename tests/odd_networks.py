"""Odd networks: those that are pruned by channel all the same, and those that must be refused."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shape = tuple[int, int, int]
Make = Callable[[Shape, int], nn.Module]


def conv(before: int, width: int, **more: object) -> nn.Conv2d:
    return nn.Conv2d(before, width, 3, padding=1, **more)


def up(before: int, width: int, **more: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, width, 2, 2, **more)


class By(nn.Module):
    """A layer, or a network, that computes what a function says, with parts that it is given."""

    def __init__(self, compute: Callable, **parts: object):
        super().__init__()
        self.compute = compute
        for name, part in parts.items():
            if type(part) is Tensor:
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, values: Tensor) -> object:
        return self.compute(self, values)


def own(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.rand(shape) + 0.5)


def net(*body: nn.Module, width: int = 8, pool: Callable | None = None, fc: object = None) -> Make:
    """Convolutions round what is odd; the first reads the images' one channel."""
    return lambda shape, classes: By(
        lambda self, x: self.fc((pool or (lambda maps: maps.mean((2, 3))))(self.body(x))),
        body=nn.Sequential(*[fresh() for fresh in body]),
        fc=fc(classes) if fc else nn.Linear(width, classes),
    )


def of(function: Callable, *arguments: object, **more: object) -> Callable[[], nn.Module]:
    return lambda: function(*arguments, **more)


FIRST = of(conv, 1, 12), nn.ReLU
LAST = of(conv, 12, 8), nn.ReLU


def between(*body: Callable[[], nn.Module]) -> Make:
    return net(*FIRST, *body, *LAST)


def by(compute: Callable, **parts: Callable[[], object]) -> Callable[[], nn.Module]:
    return lambda: By(compute, **{name: part() for name, part in parts.items()})


def vit(attend: Callable[[By, Tensor], Tensor], **parts: Callable[[], object]) -> Make:
    return lambda shape, classes: By(
        lambda self, x: self.fc(
            (lambda t: t + self.attention(self.norm(t)))(tokens(self.patches(x))).mean(1)
        ),
        patches=nn.Conv2d(1, 16, 4, 4), norm=nn.LayerNorm(16), fc=nn.Linear(16, classes),
        attention=by(attend, **parts)(),
    )  # fmt: skip


def tokens(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def heads_of(query: Tensor, key: Tensor, value: Tensor, count: int) -> Tensor:
    q, k, v = (t.view(*t.shape[:2], count, -1).transpose(1, 2) for t in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def mlp(*middle: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    return lambda classes: nn.Sequential(
        nn.Linear(8, 12), *[fresh() for fresh in middle], nn.Linear(12, classes)
    )


def after(form: Callable[[Tensor], object]) -> Make:
    return net(*FIRST, *LAST, fc=lambda classes: By(
        lambda self, x: form(self.layer(x)), layer=nn.Linear(8, classes)
    ))  # fmt: skip


def tied(shape: Shape, classes: int) -> nn.Module:
    network = net(*FIRST, of(conv, 12, 12), nn.ReLU, of(conv, 12, 12), *LAST)(shape, classes)
    network.body[4].weight = network.body[2].weight
    return network


def frozen(shape: Shape, classes: int) -> nn.Module:
    network = between()(shape, classes)
    network.body[0].requires_grad_(False)
    return network


def hooked(change: Callable[[nn.Module], object]) -> Make:
    def make(shape: Shape, classes: int) -> nn.Module:
        network = between()(shape, classes)
        change(network.body[2])
        return network

    return make


def cosine(shape: Shape, classes: int) -> nn.Module:
    """Logits are cosines with a parameter of their own."""
    classify = By(lambda s, x: F.normalize(x) @ F.normalize(s.w).T, w=own(classes, 8))
    return net(*FIRST, *LAST, fc=lambda _: classify)(shape, classes)


def raising(shape: Shape, classes: int) -> nn.Module:
    raise KeyError("no such thing")


def in_training_alone(self: By, features: Tensor) -> object:
    logits = self.layer(features)
    return (logits, logits) if self.training else logits


RIGHT: dict[str, Make] = {
    "plain": between(),
    "prelu": net(of(conv, 1, 12), of(nn.PReLU, 12), of(conv, 12, 8), nn.PReLU),
    "instance norm": between(of(nn.InstanceNorm2d, 12, affine=True), nn.ReLU),
    "bare instance norm": between(of(nn.InstanceNorm2d, 12), nn.ReLU),
    "layer norm of one group": between(of(nn.GroupNorm, 1, 12)),
    "one place": between(of(nn.AdaptiveAvgPool2d, 1), of(nn.BatchNorm2d, 12)),
    "bare batch norm": between(of(nn.BatchNorm2d, 12, affine=False)),
    "batch norm of features": net(*FIRST, *LAST, fc=mlp(of(nn.BatchNorm1d, 12), nn.ReLU)),
    "layer norm": net(*FIRST, *LAST, fc=mlp(of(nn.LayerNorm, 12), nn.ReLU)),
    "layer norm without shift": net(*FIRST, *LAST, fc=mlp(of(nn.LayerNorm, 12, bias=False))),
    "rms norm": net(*FIRST, *LAST, fc=mlp(of(nn.RMSNorm, 12), nn.ReLU)),
    "transposed": between(of(up, 12, 10), nn.ReLU, of(conv, 10, 12)),
    "transposed, batch norm": between(of(up, 12, 12), of(nn.BatchNorm2d, 12)),
    "transposed first": net(of(up, 1, 12), nn.ReLU, *LAST),
    "transposed last": net(*FIRST, of(up, 12, 8)),
    "transposed depthwise": between(of(up, 12, 12, groups=12)),
    "transposed logits": net(*FIRST, of(up, 12, 10), fc=lambda classes: nn.Identity()),
    "depthwise": between(of(conv, 12, 12, groups=12), nn.ReLU),
    "depthwise on images": net(of(conv, 1, 1), of(conv, 1, 12), nn.ReLU, *LAST),
    "added to images": net(by(lambda s, x: x + s.c(x), c=of(conv, 1, 1)), *FIRST, *LAST),
    "joined to images": net(
        by(lambda s, x: torch.cat((x, s.c(x)), 1), c=of(conv, 1, 7)), of(conv, 8, 12), *LAST
    ),
    "joined": between(by(lambda s, x: torch.cat((x, s.c(x)), 1), c=of(conv, 12, 4)),
                      of(conv, 16, 12)),
    "both signs": between(by(lambda s, x: torch.cat((x, -x), 1).relu()), of(conv, 24, 12)),
    "gate": between(by(
        lambda s, x: x * s.b(s.a(x.mean((2, 3))).relu()).sigmoid()[..., None, None],
        a=of(nn.Linear, 12, 4), b=of(nn.Linear, 4, 12),
    )),
    "gate by place": between(by(lambda s, x: x * s.c(x).sigmoid(), c=of(conv, 12, 1))),
    "scale": between(by(lambda s, x: x * s.scale, scale=of(own, 12, 1, 1))),
    "softmax over channels": between(of(nn.Softmax, 1)),
    "flattened": net(*FIRST, *LAST, pool=lambda x: x.flatten(1),
                     fc=lambda classes: nn.Linear(512, classes)),
    "flattened, two layers": net(*FIRST, *LAST, pool=lambda x: x.reshape(len(x), -1),
                                 fc=lambda c: nn.Sequential(nn.Linear(512, 12), nn.Linear(12, c))),
    "one dimension": net(*FIRST, of(nn.Flatten, 2), of(nn.Conv1d, 12, 9, 3), of(nn.BatchNorm1d, 9),
                         nn.ReLU, of(nn.Conv1d, 9, 8, 1), pool=lambda x: x.mean(2)),
    "three dimensions": net(by(lambda s, x: x.unsqueeze(1)), of(nn.Conv3d, 1, 9, (1, 3, 3)),
                            of(nn.BatchNorm3d, 9), of(nn.Conv3d, 9, 8, 1),
                            pool=lambda x: x.mean((2, 3, 4))),
    "embedding": net(*FIRST, *LAST, of(nn.Conv2d, 8, 8, 4, 4), pool=lambda x: tokens(x),
                     fc=lambda c: By(lambda s, x: s.l((x + s.e(s.at)).relu().mean(1)),
                                     e=nn.Embedding(4, 8), l=nn.Linear(8, c), at=torch.arange(4))),
    "class token": net(*FIRST, *LAST, pool=tokens, fc=lambda c: By(
        lambda s, x: s.l(s.m(torch.cat((s.t.expand(len(x), -1, -1), x), 1)).relu()[:, 0]),
        t=own(1, 1, 8), m=nn.Linear(8, 8), l=nn.Linear(8, c))),
    "one head": vit(lambda s, x: s.o(heads_of(s.q(x), s.k(x), s.v(x), 1)),
                    **dict.fromkeys("qkvo", of(nn.Linear, 16, 16))),
    "layer used twice": between(by(lambda s, x: x + s.c(s.c(x).relu()), c=of(conv, 12, 12))),
    "layer never used": between(by(lambda s, x: x, c=of(conv, 12, 5))),
    "same padding": net(*FIRST, of(nn.Conv2d, 12, 8, 3, padding="same", padding_mode="circular")),
    "lazy": net(of(nn.LazyConv2d, 12, 3), nn.ReLU, *LAST, fc=nn.LazyLinear),
    "list of layers": lambda shape, classes: By(
        lambda s, x: s.m[0](s.m[2](s.m[1](x).relu()).mean((2, 3))),
        m=nn.ModuleList([nn.Linear(8, classes), conv(1, 12), conv(12, 8)])),
    "two heads": net(*FIRST, *LAST, fc=lambda classes: By(
        lambda s, x: torch.cat([half(x) for half in s.m], 1),
        m=nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, classes - 3)]))),
    "log-probabilities": after(lambda x: x.log_softmax(1)),
}  # fmt: skip
"""Pruned by channel and by weight."""

INSTEAD = "cannot be pruned by channel; use granularity weight"
UNSEEN = "does not see how its channels depend on those of other layers: use granularity weight"
LOGITS = r"it must return logits as one tensor \[n, 10\]"
Named, Sized = namedtuple("Named", "logits"), namedtuple("Sized", "shape")

WRONG: dict[str, tuple[Make, str, str]] = {
    "pair": (after(lambda x: (x, x)), "weight", f"returns a tuple; {LOGITS}"),
    "list": (after(lambda x: [x]), "weight", f"returns a list; {LOGITS}"),
    "dictionary": (after(lambda x: {"logits": x}), "weight", f"returns a dict; {LOGITS}"),
    "named tuple": (after(Named), "weight", f"returns a Named; {LOGITS}"),
    "with a shape": (after(lambda x: Sized(x.shape)), "weight", f"returns a Sized; {LOGITS}"),
    "nothing": (after(lambda x: None), "weight", f"returns a NoneType; {LOGITS}"),
    "few": (after(lambda x: x[:, :8]), "weight", r"returns a tensor \[2, 8\] for 2 images; it"),
    "flat": (after(lambda x: x[0]), "weight", r"returns a tensor \[10\]"),
    "maps": (after(lambda x: x[..., None, None]), "weight", r"returns a tensor \[2, 10, 1, 1\]"),
    "probabilities": (after(lambda x: x.softmax(1)), "weight", "returns probabilities, which sum"),
    "two outputs in training": (
        net(*FIRST, *LAST, fc=lambda c: By(in_training_alone, layer=nn.Linear(8, c))),
        "weight", f"returns a tuple in training mode; {LOGITS}",
    ),
    "detached": (after(lambda x: x.detach()), "weight", "cannot be trained: RuntimeError"),
    "no images": (net(of(conv, 5, 12), *LAST), "weight", "cannot take images of"),
    "raising": (raising, "weight", r"KeyError: 'no such thing'; it is called with \(1, 8, 8\) "),
    "weight norm": (hooked(nn.utils.parametrizations.weight_norm), "channel",
                    "body.2: its weight is computed by a parametrization"),
    "weight norm, masks": (hooked(nn.utils.parametrizations.weight_norm), "weight",
                           "body.2: its weight is computed by a parametrization"),
    "older weight norm": (hooked(lambda layer: nn.utils.spectral_norm(layer)), "channel",
                          "body.2: its weight is computed by a parametrization or a hook"),
    "older weight norm, masks": (hooked(lambda layer: nn.utils.spectral_norm(layer)), "weight",
                                 "body.2: its weight is computed by a parametrization or a hook"),
    "frozen": (frozen, "channel", "frozen parameters cannot be pruned by channel; unfreeze"),
    "tied": (tied, "channel", f"body.4.weight: a parameter shared with .*body.2.weight {INSTEAD}"),
    "multiplier": (between(of(conv, 12, 24, groups=12), of(conv, 24, 12)), "channel",
                   f"body.2: a depthwise convolution with 24 outputs for 12 channels {INSTEAD}"),
    "groups": (between(of(conv, 12, 12, groups=2)), "channel",
               f"body.2: a convolution in 2 groups {INSTEAD}"),
    "transposed groups": (between(of(up, 12, 12, groups=2)), "channel",
                          f"body.2: a convolution in 2 groups {INSTEAD}"),
    "group norm": (between(of(nn.GroupNorm, 3, 12)), "channel",
                   f"body.2: a normalisation of 3 groups of channels {INSTEAD}"),
    "layer norm of maps": (between(of(nn.LayerNorm, [12, 8, 8])), "channel",
                           rf"body.2: a normalisation of maps \[12, 8, 8\] {INSTEAD}"),
    "running instance norm": (between(of(nn.InstanceNorm2d, 12, track_running_stats=True)),
                              "channel", f"an instance normalisation with running .* {INSTEAD}"),
    "attention of torch": (
        vit(lambda s, x: s.a(x, x, x)[0], a=of(nn.MultiheadAttention, 16, 2, batch_first=True)),
        "channel", r"attention.a: torch's MultiheadAttention .* cannot be pruned by channel",
    ),
    "recurrent": (net(*FIRST, *LAST, pool=tokens, fc=lambda c: By(
        lambda s, x: s.l(s.r(x)[0][:, -1]), r=nn.LSTM(8, 8, batch_first=True), l=nn.Linear(8, c))),
        "channel", f"fc.r: a layer LSTM {INSTEAD}"),
    "heads by hand": (vit(lambda s, x: s.o(heads_of(s.q(x), s.k(x), s.v(x), 4)),
                          **dict.fromkeys("qkvo", of(nn.Linear, 16, 16))), "channel", UNSEEN),
    "channels in reverse": (between(by(lambda s, x: x.flip(1))), "channel",
                            f"body.0: the cut network reads other channels .*{UNSEEN}"),
    "channels rolled": (between(by(lambda s, x: x.roll(1, 1))), "channel", "other channels"),
    "channels shuffled": (between(of(nn.ChannelShuffle, 2)), "channel", UNSEEN),
    "channels padded": (net(of(conv, 1, 6), by(lambda s, x: F.pad(x, (0, 0, 0, 0, 3, 3))), *LAST),
                        "channel", "other channels"),
    "channels in pairs": (between(of(nn.GLU, 1), of(conv, 6, 12)), "channel", UNSEEN),
    "channels halved": (between(by(lambda s, x: sum(x.chunk(2, 1))), of(conv, 6, 12)),
                        "channel", UNSEEN),
    "every second channel": (between(by(lambda s, x: x[:, ::2]), of(conv, 6, 12)), "channel",
                             UNSEEN),
    "channels to places": (between(of(nn.PixelShuffle, 2), of(conv, 3, 12)), "channel", UNSEEN),
    "channels last, flattened": (
        net(*FIRST, *LAST, pool=lambda x: x.permute(0, 2, 3, 1).flatten(1),
            fc=lambda classes: nn.Linear(512, classes)),
        "channel", "body.2: the cut network reads other channels"),
    "flattened to a number": (net(*FIRST, *LAST, pool=lambda x: x.view(-1, 512),
                                  fc=lambda classes: nn.Linear(512, classes)), "channel", UNSEEN),
    "buffer": (between(by(lambda s, x: x * s.b, b=of(torch.ones, 12, 1, 1))), "channel", UNSEEN),
    "product of its own": (between(by(lambda s, x: F.conv2d(x, s.w), w=of(own, 12, 12, 1, 1))),
                           "channel", UNSEEN),
    "logits of no layer": (cosine, "channel", "weights that belong to no convolution"),
    "nothing to cut": (net(fc=lambda c: nn.Linear(1, c)), "channel",
                       "there is nothing in it to prune so; use granularity weight"),
}  # fmt: skip
"""With the granularity that it is refused by, and what is said."""
