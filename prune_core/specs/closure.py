"""The code of a user's method: its module and the local modules that it imports, none of them run.

Standard library, installed packages other than the method's own, and mrsweep itself are left out:
rows say their versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from prune_core.errors import DeclarationError

OURS = frozenset({"mrsweep", "orchestrator", "prune_core", "results"})
INSTALLED = frozenset({"site-packages", "dist-packages"})
SETTLED = 2.0
"""Seconds after which a file's time of change tells it from what it was before."""
log = logging.getLogger(__name__)


def find(module: str) -> ModuleSpec | None:
    """Find a module as an import would, but without running the packages that it is in."""
    spec: ModuleSpec | None = None
    for name in _with_parents(module):
        path = spec.submodule_search_locations if spec else None
        if spec is not None and path is None:
            return None  # what is in a module that is no package is no module
        spec = _found(name, None if path is None else list(path))
        if spec is None:
            return None
    return spec


def _found(name: str, path: list[str] | None) -> ModuleSpec | None:
    finders = (finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec"))
    try:
        return next(filter(None, (found(name, path) for found in finders)), None)
    except KeyError:  # a folder without __init__.py in a package that is not imported
        spec = ModuleSpec(name, None, is_package=True)
        last = name.rpartition(".")[2]
        spec.submodule_search_locations = [str(Path(folder, last)) for folder in path or ()]
        return spec


def code_digest(module: str, files: Iterable[Path] = ()) -> str:
    """Return twelve hexadecimal digits of the SHA-256 of all that a method's code is made of.

    Args:
        module: The dotted name of the method's module.
        files: Other files that the method reads.

    Raises:
        DeclarationError: A module is no Python, or a file cannot be read.
    """
    parts = [(name, _read(file)) for name, file in sorted(local_modules(module).items())]
    parts += [(file.name, _read(file)) for file in files]
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def stamp(files: Iterable[Path]) -> tuple[tuple[int, int], ...] | None:
    """Return size and time of change of files; None where one was changed a moment ago.

    A file that is written twice within a tick of the clock may keep both.
    """
    try:
        stats = [file.stat() for file in files]
    except OSError:
        return None
    if any(time.time() - stat.st_mtime < SETTLED for stat in stats):
        return None
    return tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)


def local_modules(module: str) -> dict[str, Path]:
    """Return the files of a module and of the local modules that it imports, by dotted name."""
    own = module.partition(".")[0]
    found: dict[str, Path] = {}
    seen: set[str] = set()
    waiting = list(_with_parents(module))
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        top = name.partition(".")[0]
        if top in OURS or (top in sys.stdlib_module_names and top != own):
            continue
        spec = find(name)
        if spec is None or not spec.has_location or spec.origin is None:
            continue
        file = Path(spec.origin)
        if top != own and INSTALLED.intersection(file.parts):
            continue
        found[name] = file
        if file.suffix == ".py":
            package = name if spec.submodule_search_locations is not None else spec.parent or ""
            waiting += _imports(_read(file), str(file), package)
    return found


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DeclarationError(f"{file}: cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=1024)
def _imports(content: bytes, file: str, package: str) -> tuple[str, ...]:
    """Return the dotted names of all that a module may import, wherever in it."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise DeclarationError(f"{file}:{line}: {getattr(error, 'msg', error)}") from error
    names: list[str] = []
    calls = {"import_module", "__import__"}
    for node in ast.walk(tree):  # the outer statements first
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
            calls |= {a.asname for a in node.names if a.name == "import_module" and a.asname}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in calls:
            given = dict(zip(("name", "package"), node.args, strict=False))
            given |= {word.arg: word.value for word in node.keywords if word.arg}
            named = given.get("name")
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                names.append(_resolved(named.value, given.get("package"), package))
            elif named is not None:
                log.warning(
                    "%s:%d: what is imported here is not known before it runs: an edit of it "
                    "gives no new keys, unless the method declares a revision and raises it",
                    file, node.lineno,
                )  # fmt: skip
    return tuple(dict.fromkeys(whole for name in names for whole in _with_parents(name)))


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the full name of the module that a statement in a package imports from."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *filter(None, [node.module])])


def _resolved(name: str, anchor: ast.expr | None, package: str) -> str:
    """Return the full name of a module that is imported by its name, such as ``.part``."""
    if not name.startswith("."):
        return name
    if isinstance(anchor, ast.Constant):
        package = str(anchor.value)
    inner = name.lstrip(".")
    return absolute(ast.ImportFrom(inner or None, [], len(name) - len(inner)), package)


def _with_parents(name: str) -> Iterator[str]:
    """Yield a dotted name and the packages that it is in, which run when it is imported."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1) if parts[0])
