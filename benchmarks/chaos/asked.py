"""The sweeps that are struck, 24 trials each, and what they need beside them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

TRIALS = 24
_SWEEP = """
name: chaos
dataset: DATASET
architectures: ARCHITECTURES
criteria: [random, CRITERION]
sparsities: [0.5]
allocations: ALLOCATIONS
finetuning: {none: {epochs: 0}, pgd: {objective: pgd, epochs: 3, lr: 0.05, attack_steps: 3}}
seeds: 3
dense: {objective: pgd, epochs: 4, lr: 0.05, attack_steps: 3}
sensitivity: {steps: 5, restarts: 1}
threat: {eps: 0.15}
evaluation: {attacks: [fgsm, pgd-10], sanity_images: 0}
resources: RESOURCES
"""
_USUAL = {
    "DATASET": "{name: digits, FEW}", "ARCHITECTURES": "[resnet8]", "CRITERION": "taylor",
    "ALLOCATIONS": "[uniform, mrs]", "RESOURCES": "{time_limit: 40s, OFTEN}",
}  # fmt: skip
_OTHER = {
    "usual": {},
    "hangs": {"CRITERION": "'hangs:once'"},
    "forked": {
        "RESOURCES": "{time_limit: 40s, OFTEN, process: resident, "
        "kinds: {trial: {process: fresh}}}",
    },
    "images": {"DATASET": "{name: imagefolder, root: 'FOLDER', source: folder, FEW}"},
    "uneven": {
        "ARCHITECTURES": "[vgg8, resnet8]",
        "ALLOCATIONS": "[uniform]",
        "RESOURCES": "{architectures: {vgg8: {cpus: 2}}, OFTEN}",
    },
}
"""What tells the sweeps apart: a method that hangs, processes as on GPUs, images in files, large
jobs before small."""
_FEW = "per_class: 20, test_per_class: 10"
_HANGS = """
import time
from pathlib import Path

def once(layer):
    mark = Path(__file__).with_name("hung")
    if not mark.exists():
        mark.write_text("")
        time.sleep(3600)
    return layer.weight.abs().sum(1)
"""


def write_sweeps(folder: Path) -> dict[str, Path]:
    """Write the sweep files, and what they need, into a folder; return the files by name."""
    (folder / "hangs.py").write_text(_HANGS)
    (folder / "hung").write_text("")
    _write_images(images_of(folder))
    places = {"FOLDER": str(images_of(folder)), "FEW": _FEW, "OFTEN": "checkpoint_every: 0"}
    files = {}
    for name, other in _OTHER.items():
        text = _SWEEP
        for word, value in {**_USUAL, **other, **places}.items():
            text = text.replace(word, value)
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(text)
    return files


def images_of(folder: Path) -> Path:
    """Return where the images lie that are files."""
    return folder / "images"


def _write_images(folder: Path) -> None:
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("test" if number % 5 == 0 else "train") / f"digit-{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(place / f"{number}.png")
