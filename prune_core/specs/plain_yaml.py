"""YAML as plain data, with the line on which every value stands.

Whatever a text holds, it is read or refused with its line: data are lists and mappings of texts,
numbers, truth values and nothing. Dates, sets and objects are refused.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from prune_core.errors import PruneCoreError

Path = tuple[str | int, ...]
Pairs = dict[str, tuple[yaml.ScalarNode, yaml.Node]]
"""The keys and values of a mapping, by what the key says."""
PREFIX = "tag:yaml.org,2002:"
KINDS = {
    "int": "a number", "float": "a number", "bool": "true or false", "null": "nothing",
    "timestamp": "a date", "merge": "a merge",
}  # fmt: skip
"""What a text that is no text is read as, in words."""
OCTAL = re.compile(r"[-+]?0[0-7_]+")
MOST_DEEP = 50
MOST_VALUES = 100_000
"""Of one text, aliases written out: few lines of aliases can stand for billions of values."""


class YamlError(PruneCoreError, ValueError):
    """A text that is no YAML, or too much of it; ``line`` is counted from 1."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


@dataclass
class Document:
    """What a text says.

    Attributes:
        data: The data; what is at fault is there as it is written.
        lines: The line of every value by its path: ``("finetuning", "pgd", "lr")``.
        faults: Lines of values that mean nothing here, each with what is wrong.
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """The safe loader, but without numbers in base 60: ``2:4`` is text, not 124."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [
            (tag, re.compile(rf"(?!.*:)(?:{pattern.pattern})", pattern.flags))
            if tag in (f"{PREFIX}int", f"{PREFIX}float")
            else (tag, pattern)
            for tag, pattern in resolvers
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless it is nested too deeply for all that works on it."""
        self.depth += 1
        if self.depth > MOST_DEEP:
            raise YamlError(_TOO_DEEP, self.line + 1)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(text: str) -> Document:
    """Read a text; merge keys give defaults, which a mapping's own keys override.

    Raises:
        YamlError: The text is not YAML, or is nested too deeply, in itself, or stands for too much.
    """
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            builder = _Builder(loader)
            if root is not None:
                builder.document.data = builder.build(root, ())
            return builder.document
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(filter(None, (error.context, error.problem)))
        raise YamlError(words, _line(mark) if mark else 1) from error
    except RecursionError:
        raise YamlError(_TOO_DEEP, 1) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise YamlError(f"no character of YAML: #x{ord(text[error.position]):04x}", line) from error


class _Builder:
    """Makes data of nodes."""

    def __init__(self, loader: _Loader):
        self.document = Document()
        self._loader = loader
        self._values = 0
        self._open: set[yaml.Node] = set()
        self._read: dict[yaml.Node, Pairs] = {}

    def build(self, node: yaml.Node, path: Path) -> Any:
        """Return what a node says."""
        line = _line(node.start_mark)
        self._values += 1
        self.document.lines.setdefault(path, line)
        if self._values > MOST_VALUES:
            raise YamlError(f"more than {MOST_VALUES:,} values, aliases written out", line)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if len(path) > MOST_DEEP:
            raise YamlError(_TOO_DEEP, line)
        if node.tag != f"{PREFIX}{'seq' if isinstance(node, yaml.SequenceNode) else 'map'}":
            self._refuse(node, f"the tag {_written(node.tag)} means nothing here; leave it out")
        with self._entered(node):
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            mapping: dict[str, Any] = {}
            for name, value in self._pairs(node).values():
                self.document.lines[(*path, name.value)] = _line(name.start_mark)
                mapping[name.value] = self.build(value, (*path, name.value))
            return mapping

    def _pairs(self, node: yaml.Node) -> Pairs:
        """Return a mapping's keys and values: its own, and those that it merges and has not."""
        if node in self._read:
            return self._read[node]
        own: Pairs = {}
        merged: Pairs = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise YamlError(
                    "a list or a mapping cannot be a key; fill in a template such as {{ epochs }}",
                    _line(name.start_mark),
                )
            if name.tag == f"{PREFIX}merge":
                bases = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for base in bases:
                    merged = self._merged(base) | merged
                continue
            if name.value in own:
                self._refuse(name, f"key {name.value!r} is given twice; give it once")
            elif name.tag not in (f"{PREFIX}str", f"{PREFIX}value"):
                kind = KINDS.get(name.tag.removeprefix(PREFIX), "another kind of value")
                self._refuse(
                    name, f"key {name.value!r} is {kind} to YAML; write the name in quotes"
                )
            own.setdefault(name.value, (name, value))
        self._read[node] = own | {key: pair for key, pair in merged.items() if key not in own}
        return self._read[node]

    def _merged(self, base: yaml.Node) -> Pairs:
        if not isinstance(base, yaml.MappingNode):
            raise YamlError("<<: merges mappings, and no other values", _line(base.start_mark))
        with self._entered(base):
            return self._pairs(base)

    @contextlib.contextmanager
    def _entered(self, node: yaml.Node) -> Iterator[None]:
        """Hold a node as one that is being read, to notice an alias within what it stands for."""
        if node in self._open:
            raise YamlError("an alias within what it stands for", _line(node.start_mark))
        self._open.add(node)
        yield
        self._open.discard(node)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix(PREFIX)
        if kind in ("str", "value", "merge"):
            return node.value
        if kind == "timestamp":
            self._refuse(node, f"{node.value!r} is a date to YAML; write a name in quotes")
        elif kind not in ("int", "float", "bool", "null"):
            self._refuse(node, f"the tag {_written(node.tag)} means nothing here; leave it out")
        else:
            try:
                value = self._loader.construct_object(node)
            except (ValueError, LookupError):  # of !!int x, !!bool x, !!int, 5,000 digits
                self._refuse(node, f"{_short(node.value)} is not {KINDS[kind]}")
                return node.value
            if kind != "int":
                return value
            if abs(value) >= 2**63:
                self._refuse(node, f"{_short(node.value)} is too large a whole number")
            elif OCTAL.fullmatch(node.value) and value != int(node.value):
                self._refuse(
                    node,
                    f"{node.value!r} is {value} to YAML, which counts by eights after a leading 0; "
                    f"write {int(node.value)} or {value}",
                )
            else:
                return value
        return node.value

    def _refuse(self, node: yaml.Node, fault: str) -> None:
        self.document.faults.append((_line(node.start_mark), fault))


_TOO_DEEP = f"nested more than {MOST_DEEP} deep"


def _line(mark: yaml.Mark) -> int:
    return int(mark.line) + 1


def _written(tag: str) -> str:
    """Return a tag as it is written."""
    return tag.replace(PREFIX, "!!")


def _short(text: str) -> str:
    return repr(text if len(text) < 40 else f"{text[:36]}...")
