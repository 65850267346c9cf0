"""Writes `revisions.txt`: of every built-in method its revision and a digest of its source.

``python tests/revisions.py``, after a method was edited. If its numbers change, raise its revision
first; the table's difference then says so, and says that they do not where the revision stays.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from prune_core.specs.reading import Source
from prune_core.specs.registry import AXES

TABLE = Path(__file__).with_name("revisions.txt")


def rows() -> dict[str, str]:
    """Return revision and digest by axis and name."""
    table: dict[str, str] = {}
    for axis, methods in sorted(AXES.items()):
        source = Source.of(methods.module)
        assert source is not None
        defined = _defined(source.text)
        for method in source.methods():
            code = "\n".join(_code(method.origin.partition(":")[2], defined).values())
            digest = hashlib.sha256(code.encode()).hexdigest()[:12]
            table[f"{axis} {method.name}"] = f"{method.digest or 'r1'} {digest}"
    return table


def _defined(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return the code of what a module defines at its top, and the names in it, by name."""
    defined: dict[str, tuple[str, set[str]]] = {}
    for node in ast.parse(text).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names = [getattr(target, "id", getattr(target, "name", None)) for target in targets]
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        code = _without_docstring(node, ast.get_source_segment(text, node) or "")
        defined |= {name: (code, used) for name in names if name}
    return defined


def _without_docstring(node: ast.stmt, code: str) -> str:
    first = node.body[0] if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
        return code
    lines = code.splitlines()
    start, end = first.lineno - node.lineno, (first.end_lineno or 0) - node.lineno + 1
    return "\n".join(lines[:start] + lines[end:])


def _code(name: str, defined: dict[str, tuple[str, set[str]]]) -> dict[str, str]:
    """Return the code of a function and of all of its module that it uses, by name, sorted."""
    found: dict[str, str] = {}
    waiting = {name}
    while waiting:
        found |= {name: defined[name][0] for name in waiting}
        used = set().union(*(defined[name][1] for name in waiting))
        waiting = used.intersection(defined) - set(found)
    return dict(sorted(found.items()))


def text() -> str:
    """Return the table as it is committed."""
    return "".join(f"{name} {row}\n" for name, row in rows().items())


if __name__ == "__main__":
    TABLE.write_text(text(), encoding="utf-8")
