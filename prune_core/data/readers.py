"""Readers of images: torchvision's files, and folders (for Parquet: `prune_core.data.parquet`).

All raise `DatasetError`, which says what to do, if files are missing or damaged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_core.data.cache import decoded
from prune_core.data.images import decode, image_files, is_image, leave_out
from prune_core.data.splits import Encoded, Split
from prune_core.data.stray import MEANT, TEST_PARTS, is_stray
from prune_core.errors import DatasetError

log = logging.getLogger(__name__)

PACKED = ("", ".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst")
"""Suffixes of archives, in which a split may still be."""


def from_torchvision(name: str, root: Path, part: str) -> Split:
    """Read a data set in torchvision's own layout; torchvision checks the files' digests.

    Args:
        name: The name of the class in ``torchvision.datasets``.
        root: The folder that torchvision was given.
        part: ``"train"`` or ``"test"``.

    Raises:
        DatasetError: If files are missing or damaged.
    """
    from torchvision import datasets

    which: dict[str, Any] = {"split": part} if name == "SVHN" else {"train": part == "train"}
    try:
        shipped = getattr(datasets, name)(str(root), download=False, **which)
    except RuntimeError as error:
        raise DatasetError(
            f"no complete {name} in torchvision's layout in {root}; fetch it once with "
            f"torchvision.datasets.{name}({str(root)!r}, download=True)"
        ) from error
    images = np.asarray(shipped.data)
    if name != "SVHN":
        images = images.transpose(0, 3, 1, 2)
    labels = shipped.labels if name == "SVHN" else shipped.targets
    return Split(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(np.asarray(labels, dtype=np.int64)),
    )


def from_class_folders(
    folder: Path, classes: Sequence[str], size: int | None, inner: str = ""
) -> Encoded:
    """Read every image below ``folder/<class>/<inner>``.

    Args:
        folder: The folder that holds one folder for each class.
        classes: The names of these folders; a label is a position in it.
        size: The side in pixels to resize images to; None to keep their size.
        inner: A folder within that of a class; none by default.

    Raises:
        DatasetError: If a class has no image, or an image cannot be decoded.
    """
    files: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        images = image_files(folder / name / inner)
        if not images:
            raise DatasetError(
                f"no image in {folder / name / inner}: no file of a kind that Pillow reads, by its "
                "suffix; fetch the data set again, or take the folder out"
            )
        files += [(file, label) for file in images]
    return from_files(files, size, folder)


def from_files(files: Sequence[tuple[Path, int]], size: int | None, root: Path) -> Encoded:
    """Return image files, to be decoded when they are needed.

    Args:
        files: Each file with its label.
        size: The side in pixels to resize images to; None to keep their size.
        root: The folder of the data set, for error messages.

    Raises:
        DatasetError: If an image cannot be decoded, or images differ in size.
    """

    def read(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        chosen = [files[position][0] for position in positions.tolist()]
        how = {"reader": "files", "size": size}
        return decoded(chosen, how, lambda: decode(chosen, size, root))

    return Encoded.of(np.array([label for _, label in files], dtype=np.int64), read)


def tiny_imagenet_validation(root: Path, classes: Sequence[str], size: int | None) -> Encoded:
    """Read Tiny-ImageNet's validation images with the labels of ``val_annotations.txt``.

    The data set ships them all in ``val/images``, which a reader of class folders would take for
    one class. Images that were moved into ``val/<class>`` are read too.

    Args:
        root: The folder tiny-imagenet-200.
        classes: The names of the classes; a label is a position in it.
        size: The side in pixels to resize images to; None to keep their size.

    Raises:
        DatasetError: If labels or images are missing, or an image cannot be decoded.
    """
    folder = root / "val"
    notes = folder / "val_annotations.txt"
    if all((folder / name).is_dir() for name in classes):
        return from_class_folders(folder, classes, size)
    if not notes.is_file():
        raise DatasetError(
            f"{folder} has neither val_annotations.txt nor a folder for every class; "
            "unpack tiny-imagenet-200.zip again"
        )
    place = {name: index for index, name in enumerate(classes)}
    files: list[tuple[Path, int]] = []
    for number, line in enumerate(notes.read_text(encoding="utf-8").splitlines(), start=1):
        name, _, rest = line.partition("\t")
        label = rest.partition("\t")[0]
        if label not in place or not (folder / "images" / name).is_file():
            raise DatasetError(
                f"{notes}:{number}: no image {name!r}, or no class {label!r} in train; "
                "unpack tiny-imagenet-200.zip again"
            )
        files.append((folder / "images" / name, place[label]))
    labelled, images = {file for file, _ in files}, image_files(folder / "images")
    if len(labelled) < len(files) or labelled != set(images):
        raise DatasetError(
            f"{notes} has {len(files)} lines for {len(images)} images; it names each once: unpack "
            "tiny-imagenet-200.zip again"
        )
    return from_files(files, size, root)


def class_names(folder: Path, advice: str) -> list[str]:
    """Return the names of the class folders in ``folder``, sorted.

    Args:
        folder: The folder that holds one folder for each class.
        advice: What to do if there is none; the error says so.

    Raises:
        DatasetError: If there is none.
    """
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [e.name for e in entries if e.is_dir() and not is_stray(e.name)]
    if not names:
        raise DatasetError(f"no class folders in {folder}; {advice}")
    loose = [e for e in entries if not e.is_dir() and not is_stray(e.name)]
    if images := [e.name for e in loose if is_image(e)]:
        raise DatasetError(
            f"{folder}: images that lie in no class folder: {len(images)} ({images[0]}, ...); put "
            "them into one, or take them out"
        )
    leave_out(folder, loose)
    return names


def test_folder(root: Path) -> Path | None:
    """Return the folder of the test split, one of `TEST_PARTS`; None if there is none.

    A warning names other folders beside it.

    Raises:
        DatasetError: There is none, but a folder that may be meant.
    """
    entries = [entry for entry in sorted(root.iterdir()) if not is_stray(entry.name)]
    folders = [entry.name for entry in entries if entry.is_dir()]
    packed = [e.name for e in entries if e.is_file() and e.suffix.lower() in PACKED]
    parts = [name for name in TEST_PARTS if name in folders]
    others = [name for name in (*folders, *packed) if name not in ("train", *parts[:1])]
    meant = [name for name in others if name.lower().startswith(MEANT)]
    if meant and not parts:
        raise DatasetError(
            f"{root}: is {' or '.join(meant)} the test split? It may be called "
            f"{', '.join(TEST_PARTS)}; rename or unpack it, or take it out"
        )
    if others:
        log.warning("%s: folders that are left out: %s", root, ", ".join(others))
    return root / parts[0] if parts else None
