"""What a module declares, read from its source: it is never imported for that.

A declaration is the decorator `prune_core.specs.registry.method` above a function at the top level
of its module, its arguments literals. Any other use of the decorator is refused with file and line:
a method that is passed over in silence would be missed only in the results.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from prune_core.errors import DeclarationError

PLACES = ("mrsweep", "prune_core.specs.registry")
"""Where the decorator is imported from."""
DECORATORS = tuple(f"{place}.method" for place in PLACES)
ARGUMENTS: dict[str, type[Any]] = {
    "source": str, "needs": tuple, "traits": tuple, "settings": dict, "fixed": dict,
}  # fmt: skip
"""What a declaration may say besides the name, and of which type."""
FORM = '@method("name", source="", needs=(), traits=(), settings={}, fixed={})'


@dataclass(frozen=True)
class Method:
    """What an axis says of one of its methods.

    Attributes:
        name: As users write it; it may hold placeholders.
        origin: The module and the function that hold it.
        summary: The first line of the function's docstring.
        source: The paper.
        needs: What the method reads: ``"gradients"``, ``"threat"``, ...
        traits: What it promises.
        settings: The settings that it reads, with the values where a user gives none.
        fixed: The settings that it reads with a value of its own, whatever a user gives.
        digest: Of the module's source; None for built-in methods.
    """

    name: str
    origin: str
    summary: str = ""
    source: str = ""
    needs: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None

    @property
    def reads(self) -> list[str]:
        """Needs and settings as people read them: ``threat``, ``beta=6.0``, ``attack_steps==1``."""
        settings = [f"{name}={value!r}" for name, value in self.settings.items()]
        return [
            *self.needs,
            *(f"{name}=={value!r}" for name, value in self.fixed.items()),
            *settings,
        ]


@dataclass(frozen=True)
class Source:
    """The source of a module."""

    module: str
    file: Path
    text: str

    @classmethod
    def of(cls, module: str) -> Source | None:
        """Find the source of a module; None where no Python file answers to the name."""
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            return None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        file = Path(spec.origin)
        return cls(module, file, file.read_text(encoding="utf-8"))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the text's SHA-256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """The functions at the module's top level, by name."""
        return {node.name: node for node in self._tree.body if isinstance(node, ast.FunctionDef)}

    def summary(self, function: str) -> str:
        """Return the first line of a function's docstring."""
        return (ast.get_docstring(self.functions[function]) or "").partition("\n")[0]

    def methods(self) -> list[Method]:
        """Return what the module declares, in its order.

        Raises:
            DeclarationError: For a declaration that cannot be read, or a name declared twice.
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
        """What the names stand for that the module imports, or gives to the decorator."""
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
        """Read one declaration."""
        if (called := _called(decorator)) != "method":
            self._refuse(decorator, f"{called!r} is the decorator 'method' by another name")
        if not isinstance(decorator, ast.Call) or len(decorator.args) != 1:
            self._refuse(decorator, "a method has one name")
        if not isinstance(node, ast.FunctionDef) or node not in self._tree.body:
            self._refuse(decorator, f"{_described(node)} is no method")
        name = self._literal(decorator.args[0])
        arguments: dict[str, Any] = {}
        if not isinstance(name, str):
            self._refuse(decorator, f"the name {name!r} is no text")
        for word in decorator.keywords:
            if word.arg not in ARGUMENTS:
                self._refuse(word, f"there is no argument {ast.unparse(word)!r}")
            value, kind = self._literal(word.value), ARGUMENTS[word.arg]
            if not isinstance(value, kind) or not all(isinstance(part, str) for part in value):
                self._refuse(word, f"{ast.unparse(word)!r} is no {kind.__name__} of texts")
            arguments[word.arg] = value
        if assigned := [need for need in arguments.get("needs", ()) if "=" in need]:
            self._refuse(decorator, f"the setting {assigned[0]!r} is no need")
        origin = f"{self.module}:{node.name}"
        return Method(name, origin, self.summary(node.name), **arguments)

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            self._refuse(node, f"{ast.unparse(node)!r} is no literal")

    def _refuse(self, node: ast.expr | ast.keyword, fault: str) -> NoReturn:
        raise DeclarationError(
            f"{self.file}:{node.lineno}: {fault}; a method is declared by {FORM} with literals, "
            f"'method' imported by this name from {' or '.join(PLACES)}, above a function at the "
            "top level of its module"
        )


def _called(decorator: ast.expr) -> str:
    """Return what a decorator is called where it stands, without its arguments."""
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _resolve(node: ast.expr, names: Mapping[str, str]) -> str:
    """Return the full dotted name of what is called, named or taken from a module; or nothing."""
    if isinstance(node, ast.Call):
        return _resolve(node.func, names)
    if isinstance(node, ast.Attribute):
        return f"{_resolve(node.value, names)}.{node.attr}"
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def _described(node: ast.AST) -> str:
    kinds = {ast.ClassDef: "a class", ast.AsyncFunctionDef: "an async function"}
    return kinds.get(type(node), "a function within another statement")
