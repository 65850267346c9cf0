"""Readers of images: torchvision's files, Parquet files and folders; each machine decodes once.

All return images as uint8 [n, c, h, w] and labels [n]. All raise `DatasetError`, which says what to
do, if files are missing or damaged.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prune_core.data.cache import Arrays, decoded
from prune_core.errors import DatasetError

IMAGES = (".jpeg", ".jpg", ".png", ".bmp", ".ppm", ".webp")
"""Suffixes of the files that are read as images."""


def from_parquet(
    root: Path, parts: Sequence[str], size: int | None, label: str = "label"
) -> Arrays:
    """Read one part of a data set in the Hugging Face layout.

    A row holds a struct with the encoded bytes of an image, and an integer label.

    Args:
        root: The folder of the files; they may also be in its folder ``data``.
        parts: What the part may be called, in order of preference; files are ``<part>*.parquet``.
        size: The side in pixels to resize images to; None to keep their size.
        label: The column of the labels.

    Returns:
        Images [n, 3, h, w] and labels [n].

    Raises:
        DatasetError: If there are no such files, or they cannot be read.
    """
    files = parquet_files(root, parts)
    if not files:
        names = " or ".join(f"{part}*.parquet" for part in parts)
        raise DatasetError(f"no {names} in {root}; set root to the folder that holds them")

    def decode() -> Arrays:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pa.concat_tables(pq.read_table(file) for file in files)
            column = next(name for name in ("img", "image") if name in table.column_names)
            encoded = (row["bytes"] for row in table[column].to_pylist())
            labels = table[label].to_numpy().astype(np.int64)
            return _stack((io.BytesIO(data) for data in encoded), size, root), labels
        except (OSError, StopIteration, KeyError, TypeError, pa.ArrowInvalid) as error:
            raise DatasetError(
                f"{files[0].name} in {root} cannot be read ({error or 'no image column'}); it "
                f"needs a column img or image of encoded bytes and a column {label}; "
                "fetch it again"
            ) from error

    return decoded(files, {"reader": "parquet", "size": size, "label": label}, decode)


def parquet_files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Return the files of the first of ``parts`` that has any, in root or root/data."""
    for part in parts:
        for folder in (root, root / "data"):
            if files := sorted(folder.glob(f"{part}*.parquet")):
                return files
    return []


def from_torchvision(name: str, root: Path, part: str) -> Arrays:
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
    return np.ascontiguousarray(images), np.asarray(labels, dtype=np.int64)


def from_class_folders(
    folder: Path, classes: Sequence[str], size: int | None, inner: str = ""
) -> Arrays:
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
        images = sorted(
            file for file in (folder / name / inner).rglob("*") if file.suffix.lower() in IMAGES
        )
        if not images:
            raise DatasetError(f"no image in {folder / name / inner}; fetch the data set again")
        files += [(file, label) for file in images]
    return from_files(files, size, folder)


def from_files(files: Sequence[tuple[Path, int]], size: int | None, root: Path) -> Arrays:
    """Read image files.

    Args:
        files: Each file with its label.
        size: The side in pixels to resize images to; None to keep their size.
        root: The folder of the data set, for error messages.

    Raises:
        DatasetError: If an image cannot be decoded, or images differ in size.
    """

    def decode() -> Arrays:
        labels = np.array([label for _, label in files], dtype=np.int64)
        return _stack((file for file, _ in files), size, root), labels

    how = {"reader": "files", "size": size, "labels": [label for _, label in files]}
    return decoded([file for file, _ in files], how, decode)


def tiny_imagenet_validation(root: Path, classes: Sequence[str], size: int | None) -> Arrays:
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
    return from_files(files, size, root)


def class_names(folder: Path, advice: str) -> list[str]:
    """Return the names of the class folders in ``folder``, sorted.

    Args:
        folder: The folder that holds one folder for each class.
        advice: What to do if there is none; the error says so.

    Raises:
        DatasetError: If there is none.
    """
    names = (
        sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if folder.is_dir()
        else []
    )
    if not names:
        raise DatasetError(f"no class folders in {folder}; {advice}")
    return names


def _stack(sources: Iterable[io.BytesIO | Path], size: int | None, root: Path) -> NDArray[np.uint8]:
    """Decode images of one size as RGB; the three channels of a grey image are equal."""
    from PIL import Image, UnidentifiedImageError

    images: list[NDArray[np.uint8]] = []
    for number, source in enumerate(sources):
        try:
            with Image.open(source) as opened:
                colour = opened.convert("RGB")
                if size is not None and colour.size != (size, size):
                    colour = colour.resize((size, size), Image.Resampling.BILINEAR)
                images.append(np.asarray(colour))
        except (UnidentifiedImageError, OSError) as error:
            name = source if isinstance(source, Path) else f"image {number} of {root}"
            raise DatasetError(f"{name} cannot be decoded ({error}); fetch it again") from error
    shapes = Counter(image.shape[:2] for image in images)
    if len(shapes) > 1:
        seen = ", ".join(f"{w}x{h}" for (h, w), _ in shapes.most_common(3))
        raise DatasetError(
            f"images in {root} differ in size ({seen}, ...); set dataset.size to resize them"
        )
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
