"""Comparisons with authors' code: what all of them need.

A comparison is a function from the folder of the originals to rows of what was measured.
"""

from __future__ import annotations

import ast
import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

CPU = torch.device("cpu")
Row = tuple[str, str]
"""What was compared, and what came of it."""


class SkippedError(Exception):
    """A comparison that cannot be made here; it says why."""


def functions_of(file: Path, imports: str, changes: dict[str, str]) -> ModuleType:
    """Import an authors' script without what it does at its import: its functions and classes.

    Args:
        file: The script.
        imports: What to write in place of its own imports.
        changes: Texts of it that today's libraries need otherwise.
    """
    if not file.is_file():
        raise SkippedError(f"no {file}")
    text = file.read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = [node for node in ast.parse(text).body if isinstance(node, kinds)]
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, f"theirs_{file.stem}.py")
        module.write_text(imports + "\n\n" + ast.unparse(ast.Module(body, [])), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(module.stem, module)
        if spec is None or spec.loader is None:
            raise SkippedError(f"{file} cannot be imported")
        imported = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(imported)
        except ImportError as error:
            raise SkippedError(f"{file.name} needs {error.name}, which is not installed") from error
    return imported


def apart(mine: Tensor | None, theirs: Tensor) -> float:
    """Return the length of the difference over that of theirs; infinite if ours is missing."""
    if mine is None:
        return float("inf")
    return float((mine - theirs).norm() / theirs.norm().clamp_min(1e-12))
