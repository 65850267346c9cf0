"""Signatures: how the methods of each axis are called, held against the source of a user's own.

What stands for the placeholders of a method's name (``pgd-<k>`` matches ``pgd-20``) is handed to it
as well. What does not fit would otherwise fail on a worker, after the networks were trained.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from prune_core.specs.definitions import Definition

CALLS: Mapping[str, tuple[str, ...]] = {
    "architectures": ("shape", "classes"),
    "criteria": ("layer",),
    "allocations": ("evidence", "dial"),
    "granularities": ("network", "shape"),
    "sensitivities": ("problem", "layer"),
    "objectives": ("network", "images", "labels", "context"),
    "schedules": ("progress", "training"),
    "policies": ("network", "start"),
    "attacks": ("network", "images", "labels", "threat"),
    "corruptions": ("images", "severity", "generator"),
    "datasets": ("spec",),
}
"""By axis, what its methods are called with, in this order."""

ON_IMAGES = ("gradients", "learned", "maps", "inputs")
MEASURED = ("sensitivity",)
READS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "attacks": {"threat.eps": ("threat",), "threat.norm": ("threat",)},
    "objectives": {
        "context.attack": ("threat",),
        "context.teacher": ("teacher",),
    },
    "policies": {f"start.{name}": (name,) for name in ("rewound", "fresh", "images")},
    "criteria": {
        "layer.gradient": ON_IMAGES,
        "layer.curvature": ON_IMAGES,
        "layer.saliency": ON_IMAGES,
        "layer.hessian_gradient": ON_IMAGES,
        "layer.squared_change": ON_IMAGES,
        "layer.learned": ("learned",),
        "layer.trained": ("trained",),
        "layer.maps": ("maps",),
        "layer.inputs": ("inputs",),
    },
    "allocations": {
        "evidence.scores": ("scores",),
        "evidence.ranked": ("scores",),
        "evidence.ranked_by_mean": ("scores",),
        "evidence.sensitivities": MEASURED,
        "evidence.curves": MEASURED,
        "evidence.path": MEASURED,
        "evidence.ratios": ("ratios",),
        "evidence.outputs": ("outputs",),
    },
}
"""By axis, what is there only for a method that needs one of these, up to a colon."""
PLACEHOLDERS = {
    "k": r"[1-9]\d{0,4}",
    "n": r"[1-9]\d?",
    "m": r"[1-9]\d?",
    "severity": r"[1-5]",
    "name": r"[A-Za-z0-9_][A-Za-z0-9_.-]*",
    "objective": r".+",
    "criterion": r".+",
    "corruption": r"[a-z-]+",
    "file": r"[a-z]+(?:-[a-z]+)*",
    "attack": r"[^+]+",
    "then": r".+",
}
"""What each placeholder matches, as a regular expression."""
INNER = {
    "objective": "objectives",
    "criterion": "criteria",
    "corruption": "corruptions",
    "attack": "attacks",
    "then": "attacks",
}
"""Placeholders that stand for the name of another method, and the axis of that method."""


class Form(NamedTuple):
    """What is called."""

    name: str
    arguments: ast.arguments
    body: list[ast.AST]
    bound: int
    """The arguments that are given already: ``self``."""


def signature_fault(
    axis: str, defined: Definition, needs: Collection[str], named: Collection[str] = ()
) -> str | None:
    """Return how a method does not fit its axis, with file and line; None where it fits.

    What the source does not tell (a decorator that may change it, what a call gives) counts as
    fitting.

    Args:
        axis: The axis.
        defined: What the method's name stands for.
        needs: What it says that it reads.
        named: The placeholders of its name, which are given as keywords.
    """
    if axis not in CALLS or defined.is_filled_in or (form := _form(axis, defined)) is None:
        return None
    place = f"{defined.source.file}:{defined.node.lineno}: {form.name}"
    if not _takes(form, len(CALLS[axis]), named):
        given = ", ".join([*CALLS[axis], *(f"{name}=" for name in named)])
        own = ast.unparse(form.arguments)
        return f"{place} is called with ({given}), and it takes ({own})"
    for what, any_of in _read(axis, form):
        if not {need.partition(":")[0] for need in needs}.intersection(any_of):
            return f'{place} reads {what}, so it must say needs=("{any_of[0]}",)'
    return None


def _form(axis: str, defined: Definition) -> Form | None:
    node = defined.node
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, 0)
    value = getattr(node, "value", None)
    if isinstance(value, ast.Lambda):
        return Form(defined.name, value.args, [value.body], 0)
    if isinstance(node, ast.ClassDef) and not _changing(node):
        called = "__init__" if axis == "architectures" else "__call__"
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == called:
                form = _of_function(method, 1)
                return form and form._replace(name=f"{node.name}.{called}")
    return None


def _of_function(node: ast.FunctionDef, bound: int) -> Form | None:
    return None if _changing(node) else Form(node.name, node.args, [*node.body], bound)


def _changing(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Say whether decorators may change what is called."""
    plain = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return any(ast.unparse(each).rpartition(".")[2] != "method" for each in plain)


def _takes(form: Form, count: int, named: Collection[str]) -> bool:
    """Say whether a call with so many arguments and these keywords fits."""
    arguments = form.arguments
    positional = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
    count += form.bound
    given, further = positional[:count], positional[count:]
    if count > len(positional) and arguments.vararg is None:
        return False
    by_word = {*further, *(arg.arg for arg in arguments.kwonlyargs)}
    if arguments.kwarg is None and not by_word.issuperset(named):
        return False
    required = positional[: len(positional) - len(arguments.defaults)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    must = {*required[len(given) :], *(arg.arg for arg, value in pairs if value is None)}
    return must.issubset(named)


def _read(axis: str, form: Form) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what a method reads that is there only for some, and what one of these must need."""
    positional = [arg.arg for arg in (*form.arguments.posonlyargs, *form.arguments.args)]
    names = dict(zip(positional[form.bound :], CALLS[axis], strict=False))
    table = READS.get(axis, {})
    for node in (each for part in form.body for each in ast.walk(part)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            what = f"{names.get(node.value.id)}.{node.attr}"
            if what in table:
                yield what, table[what]


def arguments_in(name: str, pattern: str) -> dict[str, str | int] | None:
    """Return what stands in a name for the placeholders of a pattern.

    Args:
        name: A name as users write it, such as ``pgd-20``.
        pattern: The name of a method, such as ``pgd-<k>``.

    Returns:
        Values by placeholder, digits as a number: ``{"k": 20}``. None if the pattern does not
        match.
    """
    if "<" not in pattern:
        return {} if name == pattern else None
    match = _compiled(pattern).fullmatch(name)
    if match is None:
        return None
    return {key: int(text) if text.isdigit() else text for key, text in match.groupdict().items()}


def placeholders(pattern: str) -> list[str]:
    """Return the placeholders of the name of a method: ``["k"]`` of ``pgd-<k>``."""
    return re.findall(r"<(\w+)>", pattern)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"<(\w+)>", pattern)
    return re.compile(
        "".join(
            f"(?P<{part}>{PLACEHOLDERS[part]})" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
    )
