"""JSON that a run, a host or another version wrote → values of bounded depth. Also on hosts: Python 3.8."""

from __future__ import annotations

import json
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
