"""One row for every registered method: what its invariants are checked with.

A method without a row fails `test_registry.test_every_method_has_a_row`.
"""

from __future__ import annotations

ROWS: dict[str, dict[str, dict[str, object]]] = {
    # Parameters for 3 channels, 10 classes and images of 32 pixels: of resnets, wide resnets and
    # VGGs by hand from their layers (`test_networks.formula`), of the others from their authors'
    # code for 1,000 classes, less the difference of classifier and stem.
    "architectures": {
        "resnet8": {"params": 78042},
        "resnet14": {"params": 175258},
        "resnet20": {"params": 272474},
        "resnet56": {"params": 855770},
        "resnet110": {"params": 1730714},
        "resnet18": {"params": 11689512 - 1000 * 513 + 10 * 513},
        "resnet34": {"params": 21797672 - 1000 * 513 + 10 * 513},
        "resnet50": {"params": 25557032 - 1000 * 2049 + 10 * 2049},
        "wrn-16-4": {"params": 2748890},
        "wrn-28-4": {"params": 5849050},
        "wrn-28-10": {"params": 36479194},
        "wrn-34-10": {"params": 46160474},
        "vgg8": {"params": 110234},
        "vgg11": {"params": 9231114},
        "vgg16": {"params": 14728266},
        "vgg19": {"params": 20040522},
        "apb-resnet18": {"params": 11689512 - 1000 * 513 + 10 * 513 - 64 * 3 * (49 - 9)},
        "apb-vgg16": {"params": 14710464 + 8448 + 2049 * 256 + 257 * 256 + 257 * 10},
        "mobilenetv2": {"params": 3504872 - 1000 * 1281 + 10 * 1281},
        "densenet121": {"params": 7978856 - 1000 * 1025 + 10 * 1025},
        "convnext-tiny": {"params": 28589128 - 1000 * 769 + 10 * 769 - 96 * 3 * (16 - 1)},
        "mobilevit-xxs": {"params": 1272024 - 1000 * 321 + 10 * 321},
        "mobilevit-xs": {"params": 2317848 - 1000 * 385 + 10 * 385},
        "mobilevit-s": {"params": 5578632 - 1000 * 641 + 10 * 641},
        "vit-tiny": {"params": 5717416 - 1000 * 193 + 10 * 193 - 192 * 3 * (256 - 16) - 192 * 132},
        "timm:<name>": {"name": "timm:resnetv2_50", "params": 25549352 - 1000 * 2049 + 10 * 2049},
        "torchvision:<name>": {"name": "torchvision:mnasnet0_5", "params": 950322},
    },
    "criteria": {
        name: {"name": name.replace("<k>", "1").replace("<criterion>", "snip")}
        for name in (
            "random", "l1", "l2", "fpgm", "group-l1", "group-l2", "group-norm", "group-fpgm",
            "lamp", "bn-scale", "taylor", "hessian", "fisher", "mad", "snip", "grasp",
            "grasp-<k>", "synflow", "synflow-<k>", "hrank", "chip", "apoz", "thinet",
            "adv-<criterion>", "hydra", "s2ap", "harp", "learned",
        )
    },
    "allocations": {
        name: {}
        for name in (
            "uniform", "uniform-plus", "global", "global-normalised", "lamp", "harp", "erk",
            "fixed", "mrs-curve", "mrs", "mrs-shuffled", "mrs-inverse", "size", "mrs-minmax",
            "mrs-bounded",
            "mrs-perturbation", "mrs-perturbation-few-step", "mrs-perturbation-first-order",
            "mrs-perturbation-per-cost", "mrs-perturbation-inverse", "scan",
        )
    },
    "granularities": {"channel": {}, "weight": {}, "<n>:<m>": {"name": "2:4"}},
    "sensitivities": {
        name: {}
        for name in (
            "perturbation", "perturbation-few-step", "perturbation-first-order", "damage", "scan",
        )
    },
    "objectives": {
        "standard": {}, "fgsm": {}, "pgd": {}, "trades": {}, "mart": {},
        "awp:<objective>": {"name": "awp:trades"}, "ard": {},
        "distill:<objective>": {"name": "distill:pgd"},
    },
    "schedules": {name: {} for name in ("constant", "step", "cosine", "one-cycle")},
    "policies": {
        name: {}
        for name in (
            "none", "recalibrate", "finetune", "lr-rewind", "weight-rewind", "iterative",
            "iterative-rewind", "scratch", "rigl", "flying-bird",
        )
    },
    "attacks": {
        "clean": {}, "fgsm": {},
        "pgd-<k>": {"name": "pgd-5"},
        "pgd-<k>-<n>": {"name": "pgd-5-2"},
        "cw": {}, "cw-<k>": {"name": "cw-20"},
        "apgd-ce": {}, "apgd-dlr": {}, "fab": {}, "square": {},
        "square-<k>": {"name": "square-50"},
        "autoattack": {},
        "fmn-<k>": {"name": "fmn-20"}, "ho-fmn-<k>": {"name": "ho-fmn-2"},
        "<attack>+<then>": {"name": "fgsm+pgd-5"},
        "bfloat16:<attack>": {"name": "bfloat16:pgd-5"},
        "tf32:<attack>": {"name": "tf32:pgd-5"},
        "corruption-<corruption>-<severity>": {"name": "corruption-fog-3"},
        "corruptions-<severity>": {"name": "corruptions-3"},
        "corruption-files-<file>-<severity>": {"name": "corruption-files-fog-3"},
    },
    "corruptions": {
        name: {}
        for name in (
            "gaussian-noise", "shot-noise", "impulse-noise", "defocus-blur", "glass-blur",
            "motion-blur", "zoom-blur", "snow", "fog", "brightness", "contrast", "elastic",
            "pixelate", "jpeg",
        )
    },
    "datasets": {
        name: {}
        for name in (
            "digits", "generated", "cifar10", "cifar100", "svhn", "tiny-imagenet", "imagefolder",
            "parquet", "arrow",
        )
    },
}  # fmt: skip


def names(axis: str) -> list[str]:
    """The names of an axis's rows, with something for every placeholder."""
    return [str(row.get("name", name)) for name, row in ROWS[axis].items()]


def row(axis: str, name: str) -> dict[str, object]:
    """The row of a name as `names` gives it."""
    return next(row for known, row in ROWS[axis].items() if name in (known, row.get("name")))
