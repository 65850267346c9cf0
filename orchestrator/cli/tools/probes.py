"""Probes: each tries one part of what a sweep needs, and says what it found or what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import time
import uuid
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.sweepfile.model import Sweep
from prune_core import __version__
from results.tables.storage import Storage

NEEDED = (
    "torch", "torchvision", "torch-pruning", "torchattacks", "timm", "ray", "pyarrow", "pandas",
)  # fmt: skip
LEAST_FREE = 5e9
"""Bytes of disk below which the storage root is called nearly full."""


class ProbeError(OrchestratorError):
    """Something is wrong; ``mend`` says what to do."""

    def __init__(self, wrong: str, mend: str):
        super().__init__(wrong)
        self.mend = mend


def versions() -> str:
    """Tell which versions are installed."""
    python = ".".join(map(str, sys.version_info[:3]))
    missing, found = [], [f"mrsweep {__version__}", f"Python {python}"]
    for name in NEEDED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise ProbeError(f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return ", ".join(found)


def device(name: str) -> str:
    """Train a small network for one adversarial step on a device."""
    import torch

    from orchestrator.worker.device import (
        device_memory,
        device_name,
        prepare_process,
        resolve_device,
    )
    from prune_core.data import datasets
    from prune_core.models import architectures
    from prune_core.specs.recipes import Training
    from prune_core.specs.settings import Dataset, Threat
    from prune_core.training.loop import fit

    resolved = resolve_device(name)
    prepare_process(resolved, 0)
    spec = Dataset(name="digits", per_class=12, test_per_class=2)
    data = datasets.load(spec, torch.device(resolved))
    network = architectures.build("resnet8", data.shape, data.classes, data.mean, data.std, 0)
    recipe = Training(objective="pgd", epochs=1, attack_steps=1).resolved()
    began = time.perf_counter()
    try:
        fit(network.to(resolved), data, recipe, Threat(), "doctor")
    except RuntimeError as error:  # what torch raises where a device does not do
        mend = "check the driver and the build of torch (python -m torch.utils.collect_env)"
        raise ProbeError(f"{resolved} trains no network: {error}", mend) from error
    seconds = time.perf_counter() - began
    memory = device_memory(resolved)
    model = f", {device_name(resolved)}, {memory / 2**30:.0f} GiB" if memory else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{resolved}{model}; {cores} cores; one epoch of a small network took {seconds:.2f} s"


def data(sweep: Sweep | None) -> str:
    """Read a sweep's images; without a sweep, look whether decoded images can be kept."""
    from prune_core.data import cache

    if sweep is None:
        folder = cache.folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProbeError(
                f"no folder for decoded images: {error}", "set MRSWEEP_CACHE to a folder of yours"
            ) from error
        return f"decoded images are kept in {folder}; give a sweep file to read its images"
    return "; ".join(_images(sweep, name) for name in sweep.datasets)


def _images(sweep: Sweep, name: str) -> str:
    """Read one data set of a sweep, and say how many images it has."""
    import torch

    from prune_core.data import datasets

    spec = sweep.datasets[name]
    if spec.root is not None and not Path(spec.root).is_dir():
        wrong = f"{sweep.images_key(name)}.root {spec.root!r} is no folder here"
        raise ProbeError(wrong, "give the one with the images")
    found = datasets.load(spec, torch.device("cpu"))
    parts = (found.train, found.validation, found.test)
    sizes = "/".join(f"{len(part.labels):,}" for part in parts)
    shape = " x ".join(map(str, found.shape))
    return f"{name}: {sizes} images (train/validation/test), {shape}"


def storage(root: str) -> str:
    """Write, read, list and remove a file in the storage root."""
    place = Storage(root)
    place.check()
    name = f"doctor-{uuid.uuid4().hex}"
    place.write(b"probe", name, "file")
    try:
        whole = place.read(name, "file") == b"probe" and place.names(name) == ["file"]
        again = place.create(b"other", name, "file")
    finally:
        place.remove(name)
    if not whole or again:
        raise ProbeError(
            f"{root}: what is written is not what is read, or a file can be made twice",
            "give a file system or object store that is consistent; see docs/cluster.md",
        )
    if not place.local:
        return f"{root}: written, read and removed"
    free = shutil.disk_usage(_there(Path(place.root))).free
    if free < LEAST_FREE:
        raise ProbeError(f"{root}: {free / 1e9:.1f} GB free", "free space, or give another root")
    return f"{root}: written, read and removed; {free / 1e9:.0f} GB free"


def _there(path: Path) -> Path:
    """Return the first folder on the way up that is there."""
    while not path.exists():
        path = path.parent
    return path


def cluster(address: str | None) -> str:
    """Start Ray here, or join a cluster, and leave it again."""
    from orchestrator.driver.executors import opened

    with opened("ray", "auto", 1, 1, address) as executor:
        where = "started here" if address is None else f"joined at {address}"
        return f"Ray {where}; its jobs compute on {executor.device}"
