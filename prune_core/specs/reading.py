"""Declarations of methods, read from the source of a module without importing it.

A declaration is the decorator `prune_core.specs.registry.method`, with literals as its arguments,
above a function at the top level of a module. Any other use of the decorator is an error with file
and line: if it were ignored, users would notice the missing method only in the results.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from prune_core.errors import DeclarationError
from prune_core.specs.closure import absolute, find

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
        keyed: Files of a user's method whose bytes are in that digest; None where they are not.
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
    keyed: tuple[str, ...] | None = None

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
        """Return the source of a module; None if there is no Python file for its name.

        Raises:
            DeclarationError: The file is no text.
        """
        spec = find(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return None
        file = Path(spec.origin)
        try:
            return cls(module, file, file.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise DeclarationError(f"{file}: is not text in UTF-8") from error

    @property
    def callables(self) -> list[str]:
        """The functions and classes at the module's top level."""
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [node.name for node in self.tree.body if isinstance(node, kinds)]

    @cached_property
    def bindings(self) -> dict[str, ast.stmt]:
        """The last statement at the top level that gives each name its value."""
        return {name: node for node in self.tree.body for name in _bound(node)}

    @cached_property
    def stars(self) -> list[ast.ImportFrom]:
        """The statements ``from module import *``."""
        imports = [node for node in self.tree.body if isinstance(node, ast.ImportFrom)]
        return [node for node in imports if node.names[0].name == "*"]

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the full name of the module that a statement imports from."""
        inside = self.file.name == "__init__.py"
        return absolute(node, self.module if inside else self.module.rpartition(".")[0])

    def dotted(self, node: ast.expr) -> str:
        """Return the full dotted name of a name or an attribute; empty for anything else."""
        return _resolve(node, self._names)

    def methods(self, unsaid: tuple[str, ...] = ()) -> list[Method]:
        """Return the methods that the module declares, in its order.

        Args:
            unsaid: The needs of those that say nothing of needs.

        Raises:
            DeclarationError: If a declaration cannot be read, or a name is declared twice.
        """
        methods = [
            self._read(node, decorator, unsaid)
            for node in ast.walk(self.tree)
            for decorator in getattr(node, "decorator_list", ())
            if _called(decorator) == "method" or _resolve(decorator, self._names) in DECORATORS
        ]
        names = [method.name for method in methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DeclarationError(f"{self.file}: {self.module} declares twice: {', '.join(twice)}")
        return methods

    @cached_property
    def tree(self) -> ast.Module:
        """The module's statements.

        Raises:
            DeclarationError: It is no Python.
        """
        try:
            return ast.parse(self.text)
        except SyntaxError as error:
            raise DeclarationError(f"{self.file}:{error.lineno}: {error.msg}") from error
        except ValueError as error:
            raise DeclarationError(f"{self.file}: {error}") from error

    @cached_property
    def _names(self) -> dict[str, str]:
        """The full dotted names of what the module imports, and of its aliases of the decorator."""
        names: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                module = self.absolute(node)
                names |= {a.asname or a.name: f"{module}.{a.name}" for a in node.names}
            elif isinstance(node, ast.Import):
                names |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.Assign) and _resolve(node.value, names) in DECORATORS:
                names |= {ast.unparse(target): DECORATORS[0] for target in node.targets}
        return names

    def _read(self, node: ast.AST, decorator: ast.expr, unsaid: tuple[str, ...]) -> Method:
        if (called := _called(decorator)) != "method":
            self._refuse(decorator, f"{called!r} is the decorator 'method' by another name")
        if not isinstance(decorator, ast.Call) or len(decorator.args) != 1:
            self._refuse(decorator, "a method has exactly one name")
        kinds = (ast.FunctionDef, ast.ClassDef)
        if not isinstance(node, kinds) or node not in self.tree.body:
            self._refuse(decorator, f"{_described(node)} cannot be a method")
        name = self._literal(decorator.args[0])
        arguments: dict[str, Any] = {"needs": unsaid}
        if not isinstance(name, str):
            self._refuse(decorator, f"the name {name!r} is not a string")
        for word in decorator.keywords:
            if word.arg not in ARGUMENTS:
                self._refuse(word, f"{ast.unparse(word)!r} is not an argument of 'method'")
            value, (kind, wanted) = self._literal(word.value), ARGUMENTS[word.arg]
            if not isinstance(value, kind) or not _fits(value):
                self._refuse(word, f"{ast.unparse(word)!r} is not {wanted}")
            arguments[word.arg] = value
        if assigned := [need for need in arguments["needs"] if "=" in need]:
            self._refuse(decorator, f"the setting {assigned[0]!r} belongs in settings or fixed")
        if (revision := arguments.pop("revision", None)) is not None:
            arguments["digest"] = f"r{revision}"
        origin = f"{self.module}:{node.name}"
        summary = (ast.get_docstring(node) or "").partition("\n")[0]
        return Method(name, origin, summary, **arguments)

    def _literal(self, node: ast.expr) -> Any:
        try:
            return ast.literal_eval(node)
        except ValueError:
            self._refuse(node, f"{ast.unparse(node)!r} is not a literal")

    def _refuse(self, node: ast.expr | ast.keyword, fault: str) -> NoReturn:
        raise DeclarationError(
            f"{self.file}:{node.lineno}: {fault}; declare a method by {FORM} with literals, above "
            "a function or class at the top level of its module, and import 'method' as such from "
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
    kinds = {ast.ClassDef: "a class", ast.FunctionDef: "a function"}
    within = f"{kinds.get(type(node))} within another statement"
    return "an async function" if isinstance(node, ast.AsyncFunctionDef) else within


def _bound(node: ast.AST) -> Iterator[str]:
    """Give the names that a statement binds, or those within it do."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Import() | ast.ImportFrom():
            yield from (a.asname or a.name.partition(".")[0] for a in node.names if a.name != "*")
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Lambda() | ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return  # names of their own
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _bound(child)
