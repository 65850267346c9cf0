"""Declarations of methods, read from the source of a module without importing it.

A declaration is the decorator `prune_core.specs.registry.method`, with literals as its arguments,
above a function at the top level of a module. Any other use of the decorator is an error with file
and line: if it were ignored, users would notice the missing method only in the results.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from prune_core.errors import DeclarationError
from prune_core.specs.closure import find

PLACES = ("mrsweep", "prune_core.specs.registry")
"""The modules that the decorator may be imported from."""
DECORATORS = tuple(f"{place}.method" for place in PLACES)
ARGUMENTS: dict[str, tuple[type[Any], str]] = {
    "source": (str, "a string"),
    "needs": (tuple, "a tuple of strings"),
    "traits": (tuple, "a tuple of strings"),
    "settings": (dict, "a dict with strings as keys"),
    "fixed": (dict, "a dict with strings as keys"),
    "wrapped": (dict, "a dict with strings as keys"),
    "files": (tuple, "a tuple of strings"),
    "revision": (int, "an integer above 1"),
}
"""The arguments of a declaration besides the name: their types, and the types in words."""
FORM = (
    '@method("name", source="", needs=(), traits=(), settings={}, fixed={}, wrapped={}, files=(), '
    "revision=2)"
)


@dataclass(frozen=True)
class Method:
    """What is known of a method without importing it.

    Attributes:
        name: The name that users write; it may contain placeholders.
        origin: Where the function is, as ``module:function``.
        summary: The first line of the function's docstring.
        source: The paper.
        needs: What the method reads, such as ``"gradients"`` or ``"threat"``.
        traits: Properties that callers may rely on, such as ``"comparable"``.
        settings: The settings that it reads, with their default values.
        fixed: The settings that it reads with a value that users cannot change.
        wrapped: Defaults of the settings of a method that wraps it, in place of that method's own.
        files: Files that it reads, beside its module.
        digest: What tells its code from earlier code of the same name: its revision, or of a user's
            method that declares none a digest of its code. None if it never changed.
    """

    name: str
    origin: str
    summary: str = ""
    source: str = ""
    needs: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    wrapped: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    digest: str | None = None

    @property
    def reads(self) -> list[str]:
        """Needs and settings for people: ``threat``, ``attack_steps==1`` (fixed), ``beta=6.0``."""
        fixed = [f"{name}=={value!r}" for name, value in self.fixed.items()]
        settings = [f"{name}={value!r}" for name, value in self.settings.items()]
        return [*self.needs, *fixed, *settings]


@dataclass(frozen=True)
class Source:
    """The source of a module.

    Attributes:
        module: The dotted name of the module.
        file: The file that holds it.
        text: What the file says.
    """

    module: str
    file: Path
    text: str

    @classmethod
    def of(cls, module: str) -> Source | None:
        """Return the source of a module; None if there is no Python file for its name."""
        spec = find(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        file = Path(spec.origin)
        return cls(module, file, file.read_text(encoding="utf-8"))

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions at the module's top level, by name."""
        return {node.name: node for node in self._tree.body if isinstance(node, ast.FunctionDef)}

    def summary(self, function: str) -> str:
        """Return the first line of a function's docstring."""
        return (ast.get_docstring(self.functions[function]) or "").partition("\n")[0]

    def methods(self) -> list[Method]:
        """Return the methods that the module declares, in its order.

        Raises:
            DeclarationError: If a declaration cannot be read, or a name is declared twice.
        """
        methods = [
            self._read(node, decorator)
            for node in ast.walk(self._tree)
            for decorator in getattr(node, "decorator_list", ())
            if _called(decorator) == "method" or _resolve(decorator, self._names) in DECORATORS
        ]
        names = [method.name for method in methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DeclarationError(f"{self.file}: {self.module} declares twice: {', '.join(twice)}")
        return methods

    @cached_property
    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self.text)
        except SyntaxError as error:
            raise DeclarationError(f"{self.file}:{error.lineno}: {error.msg}") from error

    @cached_property
    def _names(self) -> dict[str, str]:
        """The full dotted names of what the module imports, and of its aliases of the decorator."""
        names: dict[str, str] = {}
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ImportFrom):
                names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                names |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.Assign) and _resolve(node.value, names) in DECORATORS:
                names |= {ast.unparse(target): DECORATORS[0] for target in node.targets}
        return names

    def _read(self, node: ast.AST, decorator: ast.expr) -> Method:
        if (called := _called(decorator)) != "method":
            self._refuse(decorator, f"{called!r} is the decorator 'method' by another name")
        if not isinstance(decorator, ast.Call) or len(decorator.args) != 1:
            self._refuse(decorator, "a method has exactly one name")
        if not isinstance(node, ast.FunctionDef) or node not in self._tree.body:
            self._refuse(decorator, f"{_described(node)} cannot be a method")
        name = self._literal(decorator.args[0])
        arguments: dict[str, Any] = {}
        if not isinstance(name, str):
            self._refuse(decorator, f"the name {name!r} is not a string")
        for word in decorator.keywords:
            if word.arg not in ARGUMENTS:
                self._refuse(word, f"{ast.unparse(word)!r} is not an argument of 'method'")
            value, (kind, wanted) = self._literal(word.value), ARGUMENTS[word.arg]
            if not isinstance(value, kind) or not _fits(value):
                self._refuse(word, f"{ast.unparse(word)!r} is not {wanted}")
            arguments[word.arg] = value
        if assigned := [need for need in arguments.get("needs", ()) if "=" in need]:
            self._refuse(decorator, f"the setting {assigned[0]!r} belongs in settings or fixed")
        if (revision := arguments.pop("revision", None)) is not None:
            arguments["digest"] = f"r{revision}"
        origin = f"{self.module}:{node.name}"
        return Method(name, origin, self.summary(node.name), **arguments)

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            self._refuse(node, f"{ast.unparse(node)!r} is not a literal")

    def _refuse(self, node: ast.expr | ast.keyword, fault: str) -> NoReturn:
        raise DeclarationError(
            f"{self.file}:{node.lineno}: {fault}; declare a method by {FORM} with literals, above "
            "a function at the top level of its module, and import 'method' by this name from "
            f"{' or '.join(PLACES)}"
        )


def _fits(value: Any) -> bool:
    """Say whether a value of the right type has parts of the right type, or a right size."""
    return value > 1 if isinstance(value, int) else all(isinstance(part, str) for part in value)


def _called(decorator: ast.expr) -> str:
    """Return a decorator as the source writes it, without its arguments."""
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _resolve(node: ast.expr, names: Mapping[str, str]) -> str:
    """Return the full dotted name of a call, an attribute or a name; empty for anything else."""
    if isinstance(node, ast.Call):
        return _resolve(node.func, names)
    if isinstance(node, ast.Attribute):
        return f"{_resolve(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _described(node: ast.AST) -> str:
    kinds = {ast.ClassDef: "a class", ast.AsyncFunctionDef: "an async function"}
    return kinds.get(type(node), "a function within another statement")
