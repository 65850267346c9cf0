"""Compatibility: combinations of levels that cannot work are named before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from orchestrator.planning.cells import Cells, Labels, Settings
from prune_core.pruning.ratios.solver import TOLERANCE
from prune_core.specs.recipes import rewinds_rate
from prune_core.specs.registry import ALLOCATIONS, ATTACKS, CRITERIA, GRANULARITIES

ROUNDING = 1e-9
"""What floating-point numbers may be apart that are equal by hand."""

IMAGES = frozenset({"gradients", "maps", "inputs", "learned"})
"""Needs of criteria that training images answer."""


def contradictions(cells: Cells) -> list[str]:
    """Return a sentence on every combination that cannot work and that no rule excludes."""
    # Each check reads these factors alone, so one cell of every combination is enough.
    # What overrides set for a data set may be read by each.
    pruned = itemgetter(
        "dataset", "architecture", "criterion", "sparsity", "allocation", "granularity"
    )
    trained = itemgetter("dataset", "architecture", "dense", "finetuning")
    grown = itemgetter("dataset", "granularity", "finetuning")
    measured = itemgetter("dataset")
    started = itemgetter("dataset", "architecture", "dense", "seed")
    faults: list[str] = []
    for levels, say in (
        (pruned, _of_pruning),
        (trained, _of_training),
        (grown, _of_growth),
        (started, _of_checkpoint),
        (measured, _of_attacks),
    ):
        distinct: dict[object, Labels] = {levels(labels): labels for labels in cells}
        for labels in distinct.values():
            faults += say(labels, cells.settings(labels))
    return list(dict.fromkeys(faults))


def _of_attacks(labels: Labels, settings: Settings) -> Iterator[str]:
    for name in settings.evaluation.attacks:
        for precision, inner in _lowered(name):
            if fault := _too_low(precision, inner):
                yield f"attack {name!r}: {inner} {fault}"
        if "files" not in ATTACKS[name].needs:
            continue
        if "file" not in ATTACKS.arguments(name):
            yield f"attack {name!r}: images of files take no other attack before or after them"
        elif settings.dataset.corrupted is None:
            yield (
                f"attack {name!r} needs dataset.corrupted: a folder with corrupted copies of the "
                f"test images of {labels['dataset']}, such as CIFAR-10-C"
            )


def _lowered(name: str) -> Iterator[tuple[str, str]]:
    """Yield the attacks in a name that are to compute in a lower precision, and in which."""
    told = ATTACKS.arguments(name)
    precision = name.partition(":")[0]
    if "attack" in told and "then" not in told and precision in ("bfloat16", "tf32"):
        yield precision, str(told["attack"])
    for word in ("attack", "then"):
        if word in told:
            yield from _lowered(str(told[word]))


def _too_low(precision: str, name: str) -> str | None:
    """Return why an attack cannot compute in a precision; None where it can."""
    attack = ATTACKS[name]
    if {"bfloat16", "tf32"} & set(attack.traits):
        return "says its precision already"
    if "threat" not in attack.needs:
        return "attacks nothing, in whatever precision"
    if "nearest" in attack.traits:
        return f"ends where two classes meet, and {precision} is too coarse to say where that is"
    if "float32" in attack.traits:
        return f"computes in float32 in any case: it keeps gains that {precision} rounds away"
    if precision == "bfloat16" and "compares" in attack.traits:
        return (
            "decides by differences of margins that bfloat16 rounds away, and would be weaker than "
            "its name; tf32: may stand before it"
        )
    if precision == "bfloat16" and ATTACKS.outside(name):
        return (
            "is your own: whether it is as strong in bfloat16 is not known; tf32: may stand "
            "before it"
        )
    return None


def _of_checkpoint(labels: Labels, settings: Settings) -> Iterator[str]:
    try:
        settings.dense.start(str(labels["architecture"]), int(labels["seed"]))
    except OSError as error:
        yield f"dense {labels['dense']!r}: checkpoint: {error}"


def _of_training(labels: Labels, settings: Settings) -> Iterator[str]:
    dense, level = settings.dense, settings.finetuning
    if dense.taught:
        yield (
            f"dense {labels['dense']!r}: objective {dense.objective!r} learns from the dense "
            "network; only a fine-tuning has one"
        )
    if rewinds_rate(level.policy) and level.round_epochs > dense.epochs:
        yield (
            f"finetuning {labels['finetuning']!r}: policy {level.policy!r} goes back "
            f"{level.round_epochs} epochs, and the dense network's training has {dense.epochs}"
        )


def _of_growth(labels: Labels, settings: Settings) -> Iterator[str]:
    granularity, level = str(labels["granularity"]), labels["finetuning"]
    free = "weights" in GRANULARITIES[granularity].traits
    if settings.finetuning.growth and not (free and not GRANULARITIES.arguments(granularity)):
        yield (
            f"finetuning {level!r}: policy {settings.finetuning.policy!r} drops and grows single "
            f"weights wherever they are, not the units of granularity {granularity!r}; exclude: "
            f"[{{finetuning: {level}, granularity: '{granularity}'}}]"
        )


def _of_pruning(labels: Labels, settings: Settings) -> Iterator[str]:
    criterion, granularity = str(labels["criterion"]), str(labels["granularity"])
    if inner := CRITERIA.arguments(criterion).get("criterion"):
        needs = CRITERIA[str(inner)].needs
        if "threat" in needs or not IMAGES.intersection(needs):
            attacks = any(need.partition(":")[0] in ("threat", "trained") for need in needs)
            why = "attacks images itself" if attacks else "reads no images"
            yield f"criterion {criterion!r} is none: {inner} {why}"
    if "channels" in CRITERIA[criterion].traits and "weights" in GRANULARITIES[granularity].traits:
        yield (
            f"criterion {criterion!r} scores channels, not the weights of granularity "
            f"{granularity!r}; exclude: [{{criterion: {criterion}, granularity: {granularity}}}]"
        )
    floor, sparsity = settings.pruning.min_keep, float(labels["sparsity"])
    if "weights" not in GRANULARITIES[granularity].traits and sparsity >= 1 - floor**2 - ROUNDING:
        yield (
            f"by {granularity}, layers keep at least pruning.min_keep {floor:g} of their outputs "
            f"and of their inputs, {floor**2:g} of their weights: no network loses {sparsity:g}; "
            "lower pruning.min_keep, or exclude: "
            f"[{{granularity: {granularity}, sparsity: {labels['sparsity']}}}]"
        )
    if pattern := GRANULARITIES.arguments(granularity):
        n, m = int(pattern["n"]), int(pattern["m"])
        if not n < m:
            yield (
                f"granularity {granularity!r} removes nothing; give n:m with n less than m, such "
                "as 2:4"
            )
        elif sparsity < 1 - n / m - TOLERANCE:
            yield (
                f"granularity {granularity!r} removes {1 - n / m:.0%} at least, more than sparsity "
                f"{labels['sparsity']}; exclude: "
                f"[{{granularity: {granularity}, sparsity: {labels['sparsity']}}}]"
            )
    needs = ALLOCATIONS[str(labels["allocation"])].needs
    if "ratios" in needs and str(labels["architecture"]) not in settings.pruning.ratios:
        yield (
            f"allocation {labels['allocation']!r} needs pruning.ratios for "
            f"{labels['architecture']}: the share that every module keeps"
        )
