"""JSON that a run, a host or another version wrote → values of bounded depth. Also on hosts: Python 3.8."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH = 64
_INTEGER = 18  # digits; a longer one is read as a float, so that no arithmetic with it can overflow or stall


class BadJson(ValueError):
    """The text is not JSON, or nested deeper than 64 levels; the message says which."""


def parse(text: str | bytes | bytearray) -> Any:
    """The value in `text`. NaN and Infinity may occur, as Python writes them. Raises BadJson."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise BadJson(_TOO_DEEP) from None
    except ValueError as error:
        raise BadJson(f"not JSON: {error}") from None
    if text.count("[") + text.count("{") > DEPTH and _is_too_deep(value):
        raise BadJson(_TOO_DEEP)
    return value


def parse_object(text: str | bytes | bytearray) -> dict[str, Any]:
    """The JSON object in `text`. Raises BadJson."""
    value = parse(text)
    if not isinstance(value, dict):
        raise BadJson(f"not a JSON object, but {kind(value)}")
    return value


def read_object(text: str | bytes | bytearray) -> Object:
    """The JSON object in `text`, to be read key by key. Raises BadJson."""
    return Object(parse_object(text))


class Object:
    """Reads the keys of a JSON object by type; a value of another type is None, and is named in `faults`.

    `values`: the object as it is, to be passed on. `where`: what the names in `faults` begin with.
    """

    __slots__ = ("_faults", "_where", "values")

    def __init__(
        self, values: dict[str, Any] | None = None, faults: list[str] | None = None, where: str = ""
    ) -> None:
        self.values = {} if values is None else values
        self._faults = [] if faults is None else faults
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def get(self, key: str, kind: type) -> Any:
        value = self.values.get(key)
        if value is None or type(value) is kind:  # true and false are no numbers
            return value
        self._refuse(key, value, kind)
        return None

    def text(self, key: str) -> str | None:
        text = self.values.get(key)
        return text if isinstance(text, str) else self.get(key, str)

    def flag(self, key: str) -> bool:
        return self.get(key, bool) is True

    def integer(self, key: str) -> int | None:
        integer: int | None = self.get(key, int)
        return integer

    def number(self, key: str) -> float | None:
        """Returns a finite number."""
        value = self.values.get(key)
        if isinstance(value, float) and math.isfinite(value):
            return value
        number = self.get(key, int)
        return None if number is None else float(number)

    def texts(self, key: str) -> list[str]:
        if not (values := self.get(key, list)):
            return []
        texts = [value for value in values if isinstance(value, str)]
        if len(texts) < len(values):
            self._faults.append(f"{self._where}{key} has an item that is no text")
        return texts

    def child(self, key: str) -> Object:
        if self.values.get(key) is None:
            return Object()
        return Object(self.get(key, dict), self._faults, f"{self._where}{key}.")

    def children(self, key: str) -> list[Object]:
        """Returns the objects in a list."""
        values = [value for value in self.get(key, list) or [] if isinstance(value, dict)]
        return [Object(value, self._faults, f"{self._where}{key}[].") for value in values]

    def all_texts(self) -> dict[str, str]:
        return {name: text for name in self.values if (text := self.text(name)) is not None}

    def _refuse(self, key: str, value: object, expected: type) -> None:
        self._faults.append(f"{self._where}{key} is {kind(value)} instead of {kind(expected())}")


def kind(value: object) -> str:
    """What a JSON value is, for a message: `an object`, `a list`, `a text`, …"""
    return _KINDS.get(type(value), "null")


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _INTEGER else float(digits)


_DECODER = json.JSONDecoder(parse_int=_number)
_TOO_DEEP = f"nested deeper than {DEPTH} levels"
_KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    **dict.fromkeys((int, float), "a number"),
}


def _is_too_deep(value: object) -> bool:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEPTH):
        children: list[object] = []
        for parent in level:
            children += parent.values() if isinstance(parent, dict) else parent
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return False
    return True
