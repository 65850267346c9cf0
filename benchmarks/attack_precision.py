"""Whether attacks in a lower precision are as strong as in float32, and what they take.

    python benchmarks/attack_precision.py [FOLDER] [--rows FILE] [--seeds 3] [--images 500]

Networks are trained by PGD on digits, and on a part of CIFAR-10 where FOLDER has it as Parquet.
Each is attacked in float32 from two random starts, so that it is seen what chance does, in TF32
(rounded here as a GPU rounds) and in bfloat16; in bfloat16 also without the second look, in
float32, at what it cannot decide. All is judged in float32. Rows are kept in FILE as they are
measured; those that are there are not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from prune_core.attacks import lowered
from prune_core.attacks.evaluation import right
from prune_core.data import datasets
from prune_core.models import architectures
from prune_core.models.folding import Twin
from prune_core.models.state import seeded
from prune_core.specs.recipes import Training
from prune_core.specs.registry import ATTACKS
from prune_core.specs.settings import Dataset, Threat
from prune_core.training.loop import fit

CPU = torch.device("cpu")
ARCHITECTURES = ("resnet8", "vgg8")
NAMES = {
    "pgd-20": 1.0, "cw-20": 1.0, "apgd-ce": 1.0, "apgd-dlr": 1.0, "square-500": 1.0, "fab": 0.2,
}  # fmt: skip
"""Attacks, and the share of the images that each has the time for."""
BATCH = 512
Attack = Callable[[Twin, Tensor, Tensor, Threat], Tensor]
Row = dict[str, str | int | float]


def settings(folder: str | None) -> Iterator[tuple[Dataset, Training, Threat]]:
    """Yield data sets with how networks are trained on them."""
    digits = Training(objective="pgd", epochs=6, lr=0.05, attack_steps=5).resolved()
    yield Dataset(name="digits"), digits, Threat(eps=0.15)
    if folder is not None:
        natural = Training(objective="pgd", epochs=6, lr=0.05, attack_steps=2).resolved()
        part = Dataset(
            name="cifar10", root=folder, source="parquet", per_class=1000, test_per_class=100
        )
        yield part, natural, Threat(eps=8 / 255)


def rounded(numbers: Tensor) -> Tensor:
    """Return numbers of float32 with 10 bits after the first, to the nearest, ties to even."""
    bits = numbers.contiguous().view(torch.int32)
    bits = (bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF
    return bits.view(torch.float32)


class _Given(torch.autograd.Function):
    """Rounds on the way forwards."""

    @staticmethod
    def forward(_: Any, numbers: Tensor) -> Tensor:
        return rounded(numbers)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _Returned(torch.autograd.Function):
    """Rounds on the way back."""

    @staticmethod
    def forward(_: Any, numbers: Tensor) -> Tensor:
        return numbers.clone()

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return rounded(gradients[0])


class Tf32(TorchFunctionMode):
    """Has convolutions and linear layers multiply as a GPU does in TF32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Round what is multiplied."""
        if func not in (torch.conv2d, functional.linear):
            return func(*args, **(kwargs or {}))
        images, weight, *rest = args
        given = _Given.apply(images), rounded(weight.detach())
        return _Returned.apply(func(*given, *rest, **(kwargs or {})))


def ways(name: str) -> dict[str, tuple[int, Attack]]:
    """Return, by how it computes, the seed and the attack."""
    plain = ATTACKS.load(name)
    tf32 = replace(lowered.TF32, kernels=Tf32)

    def once(network: Twin, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        attacked: Tensor = plain(network.in_bfloat16(), images, labels, threat)
        return attacked

    return {
        "float32": (0, plain),
        "float32, other start": (1, plain),
        "tf32": (0, partial(lowered.attacked_in, tf32, plain)),
        "bfloat16": (0, partial(lowered.attacked_in, lowered.BFLOAT16, plain)),
        "bfloat16, one look": (0, once),
    }


def measured(network: nn.Module, data: datasets.Dataset, threat: Threat, count: int) -> list[Row]:
    """Attack a network by every attack in every way."""
    images, labels = data.test.batch(slice(0, count))
    alive = right(network, images, labels)
    images, labels = images[alive], labels[alive]
    twin, rows = Twin(network), list[Row]()
    twin.in_bfloat16()
    for name, share in NAMES.items():
        first, some = None, round(share * len(labels))
        for way, (seed, attack) in ways(name).items():
            began, kept = time.process_time(), list[Tensor]()
            with seeded(seed, CPU):
                for at in range(0, some, BATCH):
                    part = images[:some][at : at + BATCH], labels[:some][at : at + BATCH]
                    kept.append(right(network, attack(twin, *part, threat), part[1]))
            found = torch.cat(kept)
            first = found if first is None else first
            rows.append(
                {
                    "attack": name,
                    "way": way,
                    "left": int(found.sum()),
                    "left here alone": int((found & ~first).sum()),
                    "left in float32 alone": int((first & ~found).sum()),
                    "of": some,
                    "seconds": time.process_time() - began,
                }
            )
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows over all networks as Markdown.

    Of each way but the first: the images that withstand it alone, and those that withstand float32
    alone.
    """
    head = ["attack", "images", *ways("fgsm"), "CPU time of bfloat16"]
    lines = [head, ["---"] * len(head)]
    for data, name in dict.fromkeys((str(row["data"]), str(row["attack"])) for row in rows):
        total: Counter[tuple[str, str]] = Counter()
        for row in rows:
            if (row["data"], row["attack"]) == (data, name):
                for what in ("left", "left here alone", "left in float32 alone", "of", "seconds"):
                    total[str(row["way"]), what] += float(row[what])  # type: ignore[assignment]  # they may be parts
        first, *others = ways(name)
        told = [f"{name}, {data}", f"{total[first, 'of']:.0f}"]
        told += [f"{100 * total[first, 'left'] / total[first, 'of']:.1f} %"]
        for way in others:
            alone = (total[way, f"left {where} alone"] for where in ("here", "in float32"))
            told.append(" : ".join(f"{count:.0f}" for count in alone))
        told.append(f"{total['bfloat16', 'seconds'] / total[first, 'seconds']:.2f}")
        lines.append(told)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure what is left, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--rows", type=Path, default=Path("attack-precision.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=500)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = asked.rows.read_text(encoding="utf-8").splitlines() if asked.rows.exists() else []
    rows: list[Row] = [json.loads(line) for line in lines]
    known = {(row["data"], row["network"]) for row in rows}
    for spec, recipe, threat in settings(asked.folder):
        data = datasets.load(spec, CPU)
        for name in (f"{each} {s}" for each in ARCHITECTURES for s in range(asked.seeds)):
            if (spec.name, name) in known:
                continue
            architecture, _, seed = name.partition(" ")
            normalise = data.mean, data.std
            network = architectures.build(
                architecture, data.shape, data.classes, *normalise, int(seed)
            )
            fit(network, data, recipe, threat, f"attack precision {seed}")
            found = measured(network.eval(), data, threat, min(asked.images, len(data.test)))
            found = [{"data": spec.name, "network": name, **row} for row in found]
            with asked.rows.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)
            rows += found
            print(spec.name, name, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
