"""One row for every registered method: what its invariants are checked with.

A method without a row fails `test_registry.test_every_method_has_a_row`.
"""

from __future__ import annotations

ROWS: dict[str, dict[str, dict[str, object]]] = {
    # Parameters of the network for 1 channel and 10 classes, counted by hand from its layers.
    "architectures": {
        "resnet8": {"params": 77754, "image": 8},
        "resnet14": {"params": 174970, "image": 8},
        "resnet18": {"params": 11172810, "image": 8},
        "vgg8": {"params": 109946, "image": 8},
        "vgg11": {"params": 9229962, "image": 32},
    },
    "criteria": {name: {} for name in ("random", "l1", "l2", "lamp", "taylor")},
    "allocations": {name: {} for name in ("uniform", "global", "mrs", "mrs-few-step")},
    "sensitivities": {name: {} for name in ("mrs", "mrs-few-step")},
    "objectives": {"standard": {}, "pgd": {}},
    "policies": {"none": {}, "finetune": {}, "scratch": {}},
    "attacks": {"clean": {"name": "clean"}, "fgsm": {"name": "fgsm"}, "pgd-k": {"name": "pgd-5"}},
    "datasets": {"digits": {}, "cifar10": {}},
}


def names(axis: str) -> list[str]:
    """The names of an axis's rows."""
    return list(ROWS[axis])
