"""YAML as plain data, with the line on which every value stands."""

from __future__ import annotations

import re
from typing import Any

import yaml

from orchestrator.errors import OrchestratorError

Path = tuple[str | int, ...]


class YamlError(OrchestratorError):
    """Text that is not YAML, or a key given twice; ``line`` is counted from 1."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """The safe loader, but without numbers in base 60: ``2:4`` is text, not 124."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [
            (tag, re.compile(rf"(?!.*:)(?:{pattern.pattern})", pattern.flags))
            if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
            else (tag, pattern)
            for tag, pattern in resolvers
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str) -> tuple[Any, dict[Path, int]]:
    """Read YAML of the safe schema: no tags that build objects.

    Returns:
        The data, and the line of every value by its path: ``("finetuning", "pgd", "lr")``.

    Raises:
        YamlError: The text is not YAML, or gives a key twice.
    """
    loader = _Loader(text)
    lines: dict[Path, int] = {}

    def build(node: yaml.Node, path: Path) -> Any:
        lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            loader.flatten_mapping(node)
            mapping: dict[Any, Any] = {}
            for name, value in node.value:
                key = loader.construct_object(name)
                if key in mapping:
                    line = name.start_mark.line + 1
                    raise YamlError(f"key {key!r} is given twice; give it once", line)
                lines[(*path, key)] = name.start_mark.line + 1
                mapping[key] = build(value, (*path, key))
            return mapping
        return loader.construct_object(node)

    try:
        root = loader.get_single_node()
        return (None if root is None else build(root, ())), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(str(error.problem), mark.line + 1 if mark else 1) from error
    finally:
        loader.dispose()
