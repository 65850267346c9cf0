"""Everything that is to be known of a GPU, as one table: first whether it is right, then how fast.

    python benchmarks/gpu.py [--rows FILE] [--minutes 9] [--only TEXT] [--toy --device cpu]

Rows are kept in FILE as they are measured, and those that are there are not measured again: where
ten minutes are not enough, the same command goes on. Accuracies are of digits, mean and standard
deviation over seeds; seconds are of an epoch of 50,000 images of CIFAR-10's shape by ResNet-18 and
PGD-10, from the second of two shorter ones. --toy measures little, to see that it works.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from together import EPOCH, Case, drawn, together
from torch import nn

from prune_core.attacks.evaluation import evaluate
from prune_core.data import datasets
from prune_core.data.datasets import Dataset as Data
from prune_core.models import architectures
from prune_core.pruning.prunable.channels import Channels
from prune_core.pruning.ratios.sensitivities import measure_removal
from prune_core.pruning.scores.scoring import score
from prune_core.specs.compute import PROFILES, Compute
from prune_core.specs.recipes import Training
from prune_core.specs.settings import Dataset, Estimation, Threat
from prune_core.specs.stages import Dense, Evaluation, Scores, Sensitivity
from prune_core.training.loop import fit

PLAIN = {**PROFILES["fast"], "graphs": "none"}
WAYS: dict[str, Compute] = {
    "exact": Compute(),
    "exact, fastest kernels": Compute(benchmark=True),
    "fast, without graphs": Compute.model_validate(PLAIN),
    "fast": Compute(profile="fast"),
    "fast, compiled": Compute(profile="fast", compile=True),
}
LIMITS = {"limit by peak (H100)": 1.5, "limit by roofline, fused (H100)": 2.75}
"""Seconds an epoch, by arithmetic: 1.17 PFLOP; 2.5 to 3 s where memory binds."""
Row = dict[str, float | str]
Rows = dict[str, Callable[[], Row]]
"""What is measured, by name."""


def network_of(architecture: str, data: Data, seed: int, device: torch.device) -> nn.Module:
    """Return a new network."""
    shape, normalise = data.shape, (data.mean, data.std)
    return architectures.build(architecture, shape, data.classes, *normalise, seed).to(device)


def stage_of(architecture: str, recipe: Training, threat: Threat, seed: int) -> Dense:
    """Return a stage whose key says what random numbers are drawn."""
    spec = Dataset(name="digits")
    return Dense(dataset=spec, architecture=architecture, training=recipe, threat=threat, seed=seed)


def correctness(device: torch.device, *, toy: bool) -> Rows:
    """Accuracies on the processor and on the device, and whether the same comes twice."""
    threat, cpu = Threat(eps=0.15), torch.device("cpu")
    steps, epochs, seeds = (1, 2, 2) if toy else (10, 10, 5)
    recipe = Training(objective="pgd", epochs=epochs, lr=0.05, attack_steps=steps).resolved()

    def trained(where: torch.device, compute: Compute, seed: int) -> tuple[nn.Module, Data]:
        data = datasets.load(Dataset(name="digits", per_class=20 if toy else None), where)
        network = network_of("resnet8", data, seed, where)
        fit(network, data, recipe, threat, f"gpu-{seed}", compute=compute)
        return network, data

    def accuracies(where: torch.device, compute: Compute) -> Row:
        found: dict[str, list[float]] = {"clean": [], "pgd-20": []}
        for seed in range(seeds):
            network, data = trained(where, compute, seed)
            stage = stage_of("resnet8", recipe, threat, seed)
            for attack, values in found.items():
                judged = Evaluation(network=stage, attack=attack, threat=threat)
                values.append(100 * evaluate(network, data.test, judged).accuracy)
        return {
            f"{attack}, %": f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
            for attack, values in found.items()
        }

    def apart(one: Compute, other: Compute) -> Row:
        states = [trained(device, each, 0)[0].state_dict() for each in (one, other)]
        pairs = zip(*map(dict.values, states), strict=True)
        gaps = [(a.float() - b.float()).abs().max() for a, b in pairs]
        return {"weights, largest difference": f"{float(max(gaps)):.1e}"}

    rows: Rows = {"on the processor, exact": lambda: accuracies(cpu, WAYS["exact"])}
    for name, way in WAYS.items():
        rows[f"on the device, {name}"] = lambda way=way: accuracies(device, way)
    for name in ("exact", "fast, without graphs", "fast"):
        rows[f"{name}, twice"] = lambda way=WAYS[name]: apart(way, way)
    rows["graphs on and off"] = lambda: apart(WAYS["fast"], WAYS["fast, without graphs"])
    return {name: row for name, row in rows.items() if not (toy and "compiled" in name)}


def speed(device: torch.device, *, toy: bool) -> Rows:
    """Seconds an epoch of PGD-10, and the memory that it reserves."""
    architecture, side, batches, steps = ("resnet8", 8, 5, 1) if toy else ("resnet18", 32, 40, 10)

    def epoch(compute: Compute, batch: int) -> Row:
        settings = {"objective": "pgd", "epochs": 2, "batch_size": batch, "attack_steps": steps}
        recipe = Training.model_validate(settings).resolved()
        data = drawn(side, batch * batches, device)
        network = network_of(architecture, data, 0, device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        last = fit(network, data, recipe, Threat(), "gpu", compute=compute)[-1]
        seconds = last.seconds * EPOCH / len(data.train)
        row: Row = {"seconds an epoch": f"{seconds:.2f}", "graphs": last.graphs or ""}
        if device.type == "cuda":
            row["GiB"] = f"{torch.cuda.max_memory_reserved(device) / 2**30:.1f}"
        return row

    rows: Rows = {}
    for batch in (4, 8) if toy else (128, 512):
        for name, way in WAYS.items():
            if not (toy and "compiled" in name):
                rows[f"{architecture}, batch {batch}, {name}"] = lambda w=way, b=batch: epoch(w, b)
    return rows


def several(device: torch.device, *, toy: bool) -> Rows:
    """Seconds an epoch takes each of several trainings at once, in processes and in threads."""
    case = Case("resnet20", 32, 128, 40, 10, "fast", str(device))
    if toy:
        case = case._replace(architecture="resnet8", side=8, batch=4, batches=2, steps=1)

    def row(count: int, way: str) -> Row:
        return {"seconds an epoch, of each": f"{together(case, count, way):.2f}"}

    counts = (1, 2) if toy else (1, 2, 4, 8)
    return {
        f"{case.architecture}, {count} in {way}": functools.partial(row, count, way)
        for way in ("processes", "threads")
        for count in counts
    }


def evaluation(device: torch.device, *, toy: bool) -> Rows:
    """Seconds of attacks and of the damage curves of MRS, on a network that withstands some."""
    architecture, side = ("resnet8", 8) if toy else ("resnet18", 32)
    attacks, images = (["pgd-2"], 8) if toy else (["pgd-20", "apgd-ce", "autoattack"], 512)
    threat = Threat(eps=4 / 255)
    recipe = Training(
        objective="pgd", epochs=1 if toy else 5, lr=0.05, attack_steps=1 if toy else 5
    ).resolved()
    stage = stage_of(architecture, recipe, threat, 0)

    @functools.cache
    def trained() -> tuple[nn.Module, Data]:
        spec = Dataset(name="generated", size=side, per_class=10 if toy else None)
        data = datasets.load(spec, device)
        network = network_of(architecture, data, 0, device)
        fit(network, data, recipe, threat, "gpu", compute=WAYS["fast"])
        return network, data

    def attacked(attack: str) -> Row:
        network, data = trained()
        judged = Evaluation(network=stage, attack=attack, threat=threat)
        test = data.test.take(torch.arange(min(images, len(data.test)), device=device))
        found = evaluate(network, test, judged)
        accuracy = f"{100 * found.accuracy:.1f}"
        return {"seconds": f"{found.seconds:.1f}", "images": len(test), "accuracy, %": accuracy}

    def curves() -> Row:
        network, data = trained()
        view = Channels(network, data.shape)
        scores = score(network, data, view.modules, Scores(network=stage, criterion="l1"))
        estimation = Estimation(samples=16 if toy else 512)
        measured = Sensitivity(
            network=stage, estimator="damage", threat=threat, estimation=estimation
        )
        start = time.perf_counter()
        found = measure_removal(network, view, scores, data, measured)
        seconds = f"{time.perf_counter() - start:.1f}"
        return {"seconds": seconds, "modules": len(found)}

    both = [f"{lower}{attack}" for attack in attacks for lower in ("", "tf32:", "bfloat16:")]
    both = [name for name in both if name != "bfloat16:autoattack"]  # it would be weaker
    rows: Rows = {f"{architecture}, {name}": functools.partial(attacked, name) for name in both}
    return {**rows, f"{architecture}, MRS": curves}


def measured(sections: dict[str, Rows], kept: Path, end: float) -> Iterator[tuple[str, str, Row]]:
    """Yield section, name and row of what is there and what is measured before the end."""
    known: dict[str, Row] = {}
    if kept.exists():
        known = dict(map(json.loads, kept.read_text(encoding="utf-8").splitlines()))
    for section, rows in sections.items():
        for name, row in rows.items():
            key = f"{section}: {name}"
            if key not in known:
                if time.monotonic() > end:
                    continue
                try:
                    known[key] = row()
                except RuntimeError as error:  # of one way to compute; the others may work
                    known[key] = {"failed": f"{type(error).__name__}: {error}".partition("\n")[0]}
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, known[key]]) + "\n")
            yield section, name, known[key]


def table(rows: dict[str, Row]) -> str:
    """Return rows as Markdown."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [[name, *(str(row.get(c, "")) for c in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure what is left, and print all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--rows", type=Path, help="where rows are kept; by default gpu-CARD.jsonl")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--minutes", type=float, default=9.0, help="after which no row is begun")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no GPU")
        return
    torch.set_num_threads(1)
    card = "a processor"
    if device.type == "cuda":
        card = torch.cuda.get_device_name(device)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    kept = asked.rows or Path(f"gpu-{card.replace(' ', '-')}{'-toy' if asked.toy else ''}.jsonl")
    every = {
        "Right": correctness(device, toy=asked.toy),
        "An epoch": speed(device, toy=asked.toy),
        "Attacks and sensitivities": evaluation(device, toy=asked.toy),
        "Several at once": several(device, toy=asked.toy),
    }
    sections = {
        section: {name: row for name, row in rows.items() if asked.only in name}
        for section, rows in every.items()
    }
    print(f"{card}, PyTorch {torch.__version__}, CUDA {torch.version.cuda}")
    found: dict[str, dict[str, Row]] = {}
    for section, name, row in measured(sections, kept, time.monotonic() + 60 * asked.minutes):
        print(f"{section}: {name}: {row}", flush=True)
        found.setdefault(section, {})[name] = row
    left = sum(map(len, sections.values())) - sum(map(len, found.values()))
    if "An epoch" in found:
        found["An epoch"] |= {name: {"seconds an epoch": s} for name, s in LIMITS.items()}
    for section, rows in found.items():
        print(f"\n{section}, {card}\n\n{table(rows)}")
    if left:
        print(f"\n{left} rows are left: the same command goes on with them")


if __name__ == "__main__":
    main()
