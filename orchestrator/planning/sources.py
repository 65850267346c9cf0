"""The files of a user's own method, as they lie below a folder that Python imports from.

They are those that its digest is of: its module, the local modules that it imports, and the files
that it declares. A registered method comes with what registers it.
"""

from __future__ import annotations

import importlib.metadata
import posixpath
from collections.abc import Mapping
from pathlib import Path

from prune_core.errors import DeclarationError
from prune_core.specs.closure import local_modules
from prune_core.specs.definitions import definition
from prune_core.specs.reading import Source
from prune_core.specs.registry import AXES, Axis


def sources(axis: Axis, name: str) -> Mapping[str, Path | bytes]:
    """Return what a method is made of, by its path below the folder.

    Args:
        axis: The axis of the method.
        name: Of a method from outside (`Axis.outside`), as users write it.

    Returns:
        A file, or what a file is to hold that says to Python that the method is registered.

    Raises:
        DeclarationError: It reads a file that lies above the folder.
    """
    origin, found = name, {}
    if ":" not in name:
        point = importlib.metadata.entry_points(group=f"mrsweep.{axis.axis}")[name]
        origin, found = point.value, _registration(point)
    module, _, function = origin.partition(":")
    found |= {_place(dotted, file): file for dotted, file in local_modules(module).items()}
    source = Source.of(module)
    if source is not None:
        holder = definition(source, function).source
        folder = posixpath.dirname(_place(holder.module, holder.file))
        for file in axis[name].files:
            path = posixpath.normpath(posixpath.join(folder, file))
            if path.startswith(("..", "/")):
                raise DeclarationError(
                    f"{axis.noun} {name!r} reads {file!r}, above the folder that Python imports "
                    "it from: put it beside the module"
                )
            found[path] = holder.file.parent / file
    return found


def forget() -> None:
    """Forget what was read of methods from outside: Python imports from other folders now."""
    for axis in AXES.values():
        axis.__dict__.pop("_outsiders", None)


def _place(dotted: str, file: Path) -> str:
    """Return where a module's file lies below the folder that it is imported from."""
    is_package = file.stem == "__init__"
    package = dotted if is_package else dotted.rpartition(".")[0]
    return posixpath.join(*package.split("."), file.name)


def _registration(point: importlib.metadata.EntryPoint) -> dict[str, Path | bytes]:
    """Return the metadata by which Python finds an entry point, under its package's own name."""
    package, version = ("methods", "0")
    if point.dist is not None:
        package, version = point.dist.name, point.dist.version
    folder = f"{package.replace('-', '_')}-{version}.dist-info"
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        .encode(),
        f"{folder}/entry_points.txt": f"[{point.group}]\n{point.name} = {point.value}\n".encode(),
    }  # fmt: skip
