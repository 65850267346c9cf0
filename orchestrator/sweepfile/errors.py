"""Faults in words: the line, what was given, what is allowed."""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]
FORMS = re.compile(
    r"\(list\)|\(rule\)|bool|str|int|float|(constrained|function)-.*|(literal|tuple)\[.*"
)
"""What pydantic calls the forms that one field may have; users do not write them."""
IN_YAML = {"tuple": "list", "Tuple": "List", "dictionary": "mapping", "Dictionary": "Mapping"}
PYTHON = re.compile(rf"\b(?P<word>{'|'.join(IN_YAML)})\b( or instance of \w+)?")
"""What pydantic calls lists and mappings."""


def describe(
    error: ValidationError, model: type[BaseModel], lines: Mapping[Any, int]
) -> list[tuple[int, str]]:
    """Say what is wrong with a file.

    Args:
        error: The faults, as pydantic found them.
        model: What the file was checked against.
        lines: The line of every value, by its place in the data.

    Returns:
        The line and the words of every fault. A value that fits none of several forms is one.
    """
    found: dict[tuple[int, str, str], list[str]] = {}
    deeper = {fault["loc"][:-1] for fault in error.errors()}
    for fault in error.errors():
        if fault["type"] == "too_short" and fault["loc"] in deeper:
            continue  # its items are there but wrong, which is said already
        where = _as_written(fault["loc"], lines)
        place = ".".join(str(part) for part in where) or model.__name__.lower()
        words, given = _explain(dict(fault), model)
        said = found.setdefault((_line(where, lines), place, given), [])
        said.append(words.removeprefix("Input should be ") if said else words)
    return [
        (line, f"{place}: {' or '.join(words)}{given}")
        for (line, place, given), words in found.items()
    ]


def allowed(given: str, known: Sequence[str]) -> str:
    """Say which names are allowed, and which of them is nearest to the given one."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(known)}"


def clean(message: str) -> str:
    """Return a message of pydantic without the words that it puts before ours."""
    return message.removeprefix("Value error, ")


def _as_written(loc: Place, lines: Mapping[Any, int]) -> Place:
    """Leave out what the parser added: marks of keys and forms, the name of a single recipe."""
    where: Place = ()
    for part in loc:
        added = part == "[key]" or (isinstance(part, str) and FORMS.fullmatch(part))
        if not added or (*where, part) in lines:
            where = (*where, part)
    if len(where) > 1 and where[0] == where[1] and where[:2] not in lines:
        where = where[1:]
    return where


def _line(where: Place, lines: Mapping[Any, int]) -> int:
    while where and where not in lines:
        where = where[:-1]
    return lines.get(where, 1)


def _explain(fault: dict[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    """Return what is wrong, and what was given where it can be shown."""
    given = fault["input"]
    if fault["type"] == "extra_forbidden":
        known = _fields_at(fault["loc"][:-1], model)
        return f"unknown key; {allowed(str(fault['loc'][-1]), known)}", ""
    if fault["type"] == "missing":
        return "missing; it has no default", ""
    if fault["type"] == "string_type" and isinstance(given, bool):
        return "YAML reads on, off, yes and no as true and false; write the name in quotes", ""
    message = PYTHON.sub(lambda found: IN_YAML[found["word"]], clean(fault["msg"]))
    plain = given is None or isinstance(given, bool | str | int | float | list | tuple)
    if not plain or repr(given) in message:
        return message, ""
    shown = json.dumps(given) if given is None or isinstance(given, bool) else repr(given)
    return message, f" (given: {shown if len(shown) <= 80 else shown[:77] + '...'})"


def _fields_at(loc: Place, model: type[BaseModel]) -> list[str]:
    """Return the keys that the schema knows at a place."""
    for part in loc:
        fields = model.model_fields
        if part in fields:
            model = next(_models_in(fields[str(part)].annotation), model)
    return [name for name in model.model_fields if name != "outside"]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)
