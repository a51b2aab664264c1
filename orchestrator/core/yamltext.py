"""YAML text → plain values, with the line of every key. Floats as in YAML 1.2: `3e-4` is a number."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str, ...]


class YamlError(ValueError):
    """The text is not YAML, or a key stands twice; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


_TAGS = ("map", "seq", "str", "int", "float", "bool", "null")


@dataclass(frozen=True)
class Document:
    """Values, and the line (from 1) on which the key of each path stands."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)


class _Loader(yaml.CSafeLoader):
    pass


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rpartition(":")[2] not in ("float", "timestamp")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


def parse(text: str) -> Document:
    """The one document in `text`; an empty one is None. Raises YamlError."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        return Document(None if node is None else _value(loader, node, (), lines), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, error.problem or "not YAML") from None
    except RecursionError:
        raise YamlError(1, "it refers to itself, or is nested too deep") from None
    except yaml.YAMLError as error:
        raise YamlError(1, str(error).splitlines()[0]) from None
    finally:
        loader.dispose()


def scalar(text: str) -> Any:
    """A value typed on the command line: numbers, true, null, lists; anything that is no YAML is text."""
    try:
        return parse(text).value
    except YamlError:
        return text


def _value(loader: Any, node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    if node.tag.rpartition(":")[2] not in _TAGS:
        raise YamlError(node.start_mark.line + 1, f"the tag {node.tag!r} is not allowed")
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        places = [((*path, str(index)), item) for index, item in enumerate(node.value)]
        lines.update({at: item.start_mark.line + 1 for at, item in places})
        return [_value(loader, item, at, lines) for at, item in places]
    return loader.construct_object(node, deep=True)


def _mapping(loader: Any, node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in values:
            raise YamlError(line, f"the key {key!r} stands twice")
        at = (*path, key)
        lines[at] = line
        values[key] = _value(loader, value_node, at, lines)
    return values
