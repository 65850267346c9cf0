"""Whether attacks in bfloat16 are as strong as in float32, and what they take.

    python benchmarks/attack_precision.py [FOLDER] [--rows FILE] [--seeds 3] [--images 1000]

Networks are trained by PGD on digits, and on a part of CIFAR-10 where FOLDER has it as Parquet.
Each is attacked in float32 from two random starts, so that it is seen what chance does, and in
bfloat16, with and without the second look in float32 at what bfloat16 cannot decide. All is judged
in float32. Rows are kept in FILE as they are measured; those that are there are not measured again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

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
NAMES = ("pgd-20", "cw-20", "apgd-ce", "apgd-dlr", "square-500")
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


def ways(name: str) -> dict[str, tuple[int, Attack]]:
    """Return, by how it computes, the seed and the attack."""
    plain = ATTACKS.load(name)

    def once(network: Twin, images: Tensor, labels: Tensor, threat: Threat) -> Tensor:
        attacked: Tensor = plain(network.in_bfloat16(), images, labels, threat)
        return attacked

    return {
        "float32": (0, plain),
        "float32, other start": (1, plain),
        "bfloat16": (0, partial(lowered.in_bfloat16, plain)),
        "bfloat16, one look": (0, once),
    }


def measured(network: nn.Module, data: datasets.Dataset, threat: Threat, count: int) -> list[Row]:
    """Attack a network by every attack in every way."""
    images, labels = data.test.batch(slice(0, count))
    alive = right(network, images, labels)
    images, labels = images[alive], labels[alive]
    twin, rows = Twin(network), list[Row]()
    twin.in_bfloat16()
    for name in NAMES:
        first = None
        for way, (seed, attack) in ways(name).items():
            began, kept = time.process_time(), list[Tensor]()
            with seeded(seed, CPU):
                for at in range(0, len(labels), BATCH):
                    part = images[at : at + BATCH], labels[at : at + BATCH]
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
                    "of": count,
                    "seconds": time.process_time() - began,
                }
            )
    return rows


def table(rows: list[Row]) -> str:
    """Return the rows over all networks as Markdown."""
    lines = [
        "| attack | way | images | withstand, % | here alone | in float32 alone | CPU time |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data in dict.fromkeys(str(row["data"]) for row in rows):
        for name in NAMES:
            of = [row for row in rows if (row["data"], row["attack"]) == (data, name)]
            whole = sum(float(row["seconds"]) for row in of if row["way"] == "float32")
            for way in ways(name):
                mine = [row for row in of if row["way"] == way]
                total = {k: sum(float(row[k]) for row in mine) for k in mine[0] if k in COUNTS}
                share = 100 * total["left"] / total["of"]
                alone = f"{total['left here alone']:.0f} | {total['left in float32 alone']:.0f}"
                times = f"{total['seconds'] / whole:.2f}"
                told = f"{total['of']:.0f} | {share:.2f} | {alone} | {times}"
                lines.append(f"| {name}, {data} | {way} | {told} |")
    return "\n".join(lines)


COUNTS = ("left", "left here alone", "left in float32 alone", "of", "seconds")


def main() -> None:
    """Measure what is left, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--rows", type=Path, default=Path("attack-precision.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000)
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
