"""Definitions: what a name of the user's stands for, found in source without importing it.

It may be a function, a class, a lambda, what a call gives (``functools.partial``, a factory), or
another name for one of these, in its own module or imported from another.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from prune_core.errors import DeclarationError, UnknownMethodError
from prune_core.specs.reading import Source

KINDS = {ast.AsyncFunctionDef: "an async function", ast.Import: "a module"}


@dataclass(frozen=True)
class Definition:
    """What a name stands for.

    Attributes:
        source: The module that holds the statement below.
        name: Its name there; of a partial function, that of the function.
        node: The function or class, or the assignment of a lambda or a call.
        is_filled_in: Whether some arguments are given where it is named.
    """

    source: Source
    name: str
    node: ast.stmt
    is_filled_in: bool = False

    @property
    def origin(self) -> str:
        """Where it is, as ``module:function``."""
        return f"{self.source.module}:{self.name}"

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        if not isinstance(self.node, ast.FunctionDef | ast.ClassDef):
            return ""
        return (ast.get_docstring(self.node) or "").partition("\n")[0]


def definition(source: Source, name: str, through: frozenset[str] = frozenset()) -> Definition:
    """Find what a name of a module stands for.

    Args:
        source: The module.
        name: The name at its top level.
        through: Other names for it that led here, as ``module:name``.

    Raises:
        UnknownMethodError: The module has no such name.
        DeclarationError: It cannot be known without importing the module; with file and line.
    """
    here = f"{source.module}:{name}"
    node = source.bindings.get(name) or _starred(source, name)
    if node is None:
        raise UnknownMethodError(
            f"module {source.module!r} has no function {name!r}; "
            f"it has: {', '.join(source.callables) or 'none'}"
        )
    if here in through:
        raise _refused(source, node, f"{name!r} stands for itself")
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return Definition(source, name, node)
    if isinstance(node, ast.ImportFrom):
        imported = next((a.name for a in node.names if (a.asname or a.name) == name), name)
        return _elsewhere(source, node, source.absolute(node), imported, through | {here})
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
    if isinstance(value, ast.Call):
        return _called(source, name, node, value, through | {here})
    if isinstance(value, ast.Lambda):
        return Definition(source, name, node)
    if value is not None and (found := _named(source, node, value, through | {here})):
        return found
    described = ast.unparse(value) if value else KINDS.get(type(node), "set by another statement")
    raise _refused(source, node, f"{name!r} is {described}, not a function")


def _starred(
    source: Source, name: str, seen: frozenset[str] = frozenset()
) -> ast.ImportFrom | None:
    """Return the last ``from module import *`` that brings a name."""
    seen |= {source.module}
    for node in reversed(source.stars):
        there = Source.of(source.absolute(node))
        if there is None or there.module in seen:
            continue
        if name in there.bindings or _starred(there, name, seen):
            return node
    return None


def _named(
    source: Source, node: ast.stmt, value: ast.expr, through: frozenset[str]
) -> Definition | None:
    """Return what another name stands for; None if an expression is no name."""
    if isinstance(value, ast.Name):
        return definition(source, value.id, through)
    if isinstance(value, ast.Attribute):
        module, _, name = source.dotted(value).rpartition(".")
        return _elsewhere(source, node, module, name, through)
    return None


def _elsewhere(
    source: Source, node: ast.stmt, module: str, name: str, through: frozenset[str]
) -> Definition:
    there = Source.of(module)
    if there is None:
        raise _refused(source, node, f"{name!r} comes from {module!r}, whose source is not found")
    try:
        return definition(there, name, through)
    except UnknownMethodError as error:
        raise _refused(source, node, str(error)) from error


def _called(
    source: Source, name: str, node: ast.stmt, call: ast.Call, through: frozenset[str]
) -> Definition:
    """Return what a call gives; a partial function is described as its function is."""
    if source.dotted(call.func) == "functools.partial" and call.args:
        try:
            whole = _named(source, node, call.args[0], through)
        except (UnknownMethodError, DeclarationError):
            whole = None  # made by another call, or in a library that has no source
        if whole is not None:
            return replace(whole, is_filled_in=True)
    return Definition(source, name, node)


def _refused(source: Source, node: ast.stmt, fault: str) -> DeclarationError:
    return DeclarationError(
        f"{source.file}:{node.lineno}: {fault}; a method of your own is a function, a class, a "
        "lambda, or what a call such as functools.partial gives, assigned at the top level of its "
        "module or imported there by its name"
    )
