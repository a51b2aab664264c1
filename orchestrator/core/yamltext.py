"""YAML that a person wrote → values, with the lines of their keys. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

Path = tuple[str, ...]


class YamlError(ValueError):
    """The text is not YAML, or a key occurs twice; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


MOST_VALUES, MOST_LEVELS = 20_000, 64
_TAGS = ("map", "seq", "str", "int", "float", "bool", "null")


class Document(msgspec.Struct, frozen=True):
    """Values, the line (from 1) on which the key of each path stands, and what may be meant differently."""

    value: Any
    lines: dict[Path, int] = msgspec.field(default_factory=dict)
    notes: tuple[Note, ...] = ()


class Note(msgspec.Struct, frozen=True):
    """A value that other readers of YAML take for something else."""

    path: Path
    line: int
    text: str


class _Loader(yaml.CSafeLoader):
    """Collects `notes` while the values are built."""

    def __init__(self, text: str, texts: tuple[Path, ...] = ()) -> None:
        super().__init__(text)
        self.notes: list[Note] = []
        self.texts = texts

    def note(self, node: yaml.ScalarNode, path: Path) -> None:
        if node.style or not (text := _ambiguity(node.value, node.tag)):
            return
        self.notes.append(Note(path, node.start_mark.line + 1, text))


def _ambiguity(value: str, tag: str) -> str:
    """What a person may not expect of an unquoted value; empty for nothing."""
    if _SEXAGESIMAL.match(value) or _LEADING_ZERO.match(value):
        return f"{value} is read as text; write a number in decimal, or quotes around a text"
    if tag.endswith(":bool") and value.lower() not in ("true", "false"):
        meaning = "true" if value.lower() in ("yes", "on", "y") else "false"
        return f"{value} is read as {meaning}; write quotes around a text"
    return ""


_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9]*)?$")  # YAML 1.1: 12:30:00 is 45000
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+$")  # YAML 1.1: 010 is 8
_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0].rpartition(":")[2] not in ("int", "float", "timestamp")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?![-+]?0\d+$)[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def parse(text: str, texts: tuple[Path, ...] = ()) -> Document:
    """The one document in `text`; an empty one is None. Raises YamlError.

    `texts`: keys below which a value, unless it is null, is the text that stands there.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise YamlError(1, "it contains bytes that are not UTF-8")
    loader = _Loader(text, texts)
    try:
        _require_small(text)
        node = loader.get_single_node()
        lines: dict[Path, int] = {}
        value = None if node is None else _value(loader, node, (), lines)
        return Document(value, lines, tuple(loader.notes))
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
    if len(lines) > MOST_VALUES:
        raise YamlError(
            node.start_mark.line + 1, f"more than {MOST_VALUES:,} values, with those that * repeats"
        )
    if _tag(node) not in _TAGS:
        raise YamlError(node.start_mark.line + 1, f"the tag {node.tag!r} is not allowed")
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, path, lines)
    if isinstance(node, yaml.SequenceNode):
        items = [((*path, str(index)), item) for index, item in enumerate(node.value)]
        lines.update({at: item.start_mark.line + 1 for at, item in items})
        return [_value(loader, item, at, lines) for at, item in items]
    if _tag(node) != "null" and any(path[: len(one)] == one for one in loader.texts):
        return str(node.value)
    loader.note(node, path)
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, OverflowError) as error:
        raise YamlError(
            node.start_mark.line + 1, f"{node.value[:40]!r} is no {_tag(node)}: {error}"
        ) from None


def _tag(node: yaml.Node) -> str:
    return str(node.tag.rpartition(":")[2])


def _require_small(text: str) -> None:
    """Raises YamlError for more values or levels than a person writes, before memory is used for them."""
    loader = _Loader(text)
    values = depth = 0
    try:
        while loader.check_event():
            event: Any = loader.get_event()
            values += isinstance(event, yaml.NodeEvent)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if values > 2 * MOST_VALUES:  # a key and its value are two
                raise YamlError(event.start_mark.line + 1, f"more than {MOST_VALUES:,} values")
            if depth > MOST_LEVELS:
                raise YamlError(event.start_mark.line + 1, f"more than {MOST_LEVELS} levels")
    finally:
        loader.dispose()


def _mapping(loader: Any, node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError(key_node.start_mark.line + 1, "a key that is a list or an object")
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in values:
            raise YamlError(line, f"the key {key!r} occurs twice")
        at = (*path, key)
        lines[at] = line
        values[key] = _value(loader, value_node, at, lines)
    return values
