"""Changes of a sweep file by the command (``threat.eps=4/255``), written into its text.

What runs is then a sweep file like any other, comments kept, and it is this that storage records.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from typing import Any

import yaml

from orchestrator.errors import RequestError
from prune_core.specs.plain_yaml import YamlError, read_yaml

PLAIN = re.compile(r"[\w./+-]+")
"""Values that YAML reads alike wherever they stand."""


@dataclass(frozen=True)
class Edit:
    """A replacement of the characters from ``start`` to ``end``."""

    start: int
    end: int
    text: str


def with_changes(text: str, changes: Sequence[str]) -> str:
    """Return the text of a sweep file with some of its settings changed.

    Args:
        text: What the file says. One that cannot be read is returned as it is, for its faults.
        changes: Each a ``section.key=value``, the value as YAML.

    Raises:
        RequestError: A change says nothing, or cannot be made.
    """
    try:
        read_yaml(text)
    except YamlError:
        return text
    for change in changes:
        text = _with_change(text, change)
    said = " ".join(" ".join(changes).split())  # one line of comment, whatever they hold
    return f"{text.rstrip()}\n# Changed by the command: {said}\n" if changes else text


def _with_change(text: str, change: str) -> str:
    key, equals, written = change.partition("=")
    if not equals or not key or not written:
        raise RequestError(f"{change!r}: write key=value, such as threat.eps=4/255 or seeds=5")
    try:
        value = read_yaml(written)
    except YamlError as error:
        raise RequestError(f"{change!r}: the value is no YAML: {error}") from error
    if value.faults:
        raise RequestError(f"{change!r}: {value.faults[0][1]}")
    shown = written if PLAIN.fullmatch(written) else dumps(value.data, ensure_ascii=False)
    path, edit = _place(yaml.compose(text, Loader=yaml.SafeLoader), key, shown)
    after = text[: edit.start] + edit.text + text[edit.end :]
    try:
        right = read_yaml(after).data == _set(read_yaml(text).data, path, value.data)
    except YamlError:
        right = False
    if not right:
        raise RequestError(f"{change!r} would change more than that setting; edit the file itself")
    return after


def _place(node: yaml.Node | None, key: str, shown: str) -> tuple[list[str], Edit]:
    """Return the keys that lead to a setting, and the edit that sets it."""
    path: list[str] = []
    parts = key.split(".")
    while True:
        if not isinstance(node, yaml.MappingNode):
            where = ".".join(path) or "the file"
            raise RequestError(
                f"{key!r}: {where} is no mapping in the file; give it whole: {where}='...'"
            )
        pairs = {name.value: (name, value) for name, value in node.value}
        names = [
            ".".join(parts[:count]) for count in range(len(parts), 0, -1)
        ]  # names may have dots
        found = next((name for name in names if name in pairs), None)
        if found is None:
            return [*path, *parts], _insertion(node, parts, shown)
        path.append(found)
        name, node = pairs[found]
        if node.start_mark.index < name.end_mark.index:
            raise RequestError(f"{key!r}: {'.'.join(path)} is an alias there; edit the file itself")
        parts = parts[found.count(".") + 1 :]
        if not parts:
            return path, Edit(node.start_mark.index, _end(node), _gap(name, node) + shown)


def _gap(name: yaml.Node, node: yaml.Node) -> str:
    """Return what has to stand between a name, the place of its value, and another value."""
    if node.start_mark.index <= name.end_mark.index + 1:
        return " "
    # A list may stand below its name without an indent; other values may not.
    below = node.start_mark.line > name.start_mark.line
    return " " * max(0, name.start_mark.column + 2 - node.start_mark.column) if below else ""


def _insertion(node: yaml.MappingNode, parts: Sequence[str], shown: str) -> Edit:
    """Return the edit that puts a new key before the others of a mapping."""
    if len(parts) > 1 and any(name.value == "<<" for name, _ in node.value):
        raise RequestError(f"{parts[0]!r} may be merged there; edit the file itself")
    line = f"{parts[0]}: "
    for part in parts[1:]:
        line += f"{{{part}: "
    line += shown + "}" * (len(parts) - 1)
    if node.flow_style:
        at = node.value[0][0].start_mark.index if node.value else node.end_mark.index - 1
        return Edit(at, at, f"{line}, " if node.value else line)
    first = node.value[0][0].start_mark
    return Edit(first.index, first.index, f"{line}\n{' ' * first.column}")


def _end(node: yaml.Node) -> int:
    """Return where a value ends; a block ends where the last of it does, before what follows."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _set(data: Any, path: Sequence[str], value: Any) -> Any:
    """Return data with one value set, mappings on the way made where there are none."""
    whole = copy.deepcopy(data)
    inner = whole
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return whole
