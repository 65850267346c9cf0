"""MAD's saliency beside its authors' code."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from authors import CPU, Row, apart, functions_of
from authors.learned import LAYERS, THREAT, TORCH, four_layers
from prune_core.attacks.pgd import pgd
from prune_core.data import datasets
from prune_core.models.state import seeded
from prune_core.pruning.scores.masking import adversarial_saliency
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset
from prune_core.training import loop as training


def mad(originals: Path) -> Iterator[Row]:
    """The saliency of all weights from the same two batches of attacked digits.

    The network is adversarially trained.
    """
    folder = originals / "mad"
    mask = functions_of(
        folder / "models" / "operator" / "mask.py",
        TORCH + "from torch.nn import Conv2d, Linear, Parameter\n"
        "from torch.nn.modules.utils import _pair\ninitial_mask, name, thresh = 1, 'softplus', 2",
        {"_conv_forward(self, input, weight)": "_conv_forward(self, input, weight, bias=None)"},
    )
    factors = functions_of(
        folder / "utils" / "kfac_utils.py",
        TORCH + "def try_contiguous(x):\n    return x.contiguous()",
        {},
    )
    pruner = functions_of(
        folder / "pruner" / "kfac_MAD_pruner.py",
        TORCH + "from collections import OrderedDict",
        {},
    )
    for module in (factors, pruner):  # imports of theirs
        theirs = {**vars(mask), **({} if module is factors else vars(factors))}
        vars(module).update({n: each for n, each in theirs.items() if not n.startswith("__")})

    data = datasets.load(Dataset(name="digits"), CPU)
    recipe = Training(objective="pgd", epochs=10, lr=0.1, attack_steps=5).resolved()
    with seeded(0, CPU):
        network = four_layers(nn.Conv2d, nn.Linear)
    training.fit(network, data, recipe, THREAT, "mad")
    start = torch.Generator().manual_seed(0)
    batches = [
        (pgd(network, images, labels, THREAT, 10, start), labels)
        for images, labels in (data.train.batch(slice(i, i + 128)) for i in (0, 128))
    ]
    other = four_layers(mask.Conv2d_mask, mask.Linear_mask)
    other.load_state_dict(network.state_dict(), strict=False)
    masks = [value for name, value in other.named_parameters() if "mask" in name]
    total: dict[str, torch.Tensor] = {}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the hooks that they use
        for images, labels in batches:
            optimizer = torch.optim.Adam(masks, lr=0.1)
            _, found, *_ = pruner.KFACMADPruner(other, None, CPU)._optimize_mask(
                images, labels, optimizer, 20, debug_acc=False, is_compute_delta_L=True
            )
            for name, each in zip(LAYERS, found, strict=True):
                total[name] = total.get(name, torch.zeros(())) + each / len(batches)
    ours = adversarial_saliency(network, LAYERS, batches)
    for name, each in ours.items():
        # Theirs has a column more for a bias.
        whole = total[name][:, : each[0].numel()]
        yield f"mad: saliency of layer {name}", f"{apart(each.flatten(1), whole):.1e}"
    scores = torch.cat([ours[name].flatten() for name in LAYERS])
    others = torch.cat([total[name][:, : ours[name][0].numel()].flatten() for name in LAYERS])
    best, theirs_best = (each >= each.topk(len(each) // 10).values[-1] for each in (scores, others))
    both = float((best & theirs_best).sum() / theirs_best.sum())
    yield "mad: of the tenth of all weights that theirs would keep, kept by ours", f"{both:.3f}"
