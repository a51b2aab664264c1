"""JSON that a host, a run or an older version wrote → typed values. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A time or a duration that can be computed with and printed: finite."""
Size = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Count = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


_LINE_ENDS = re.compile("[\n\r\v\f\x85\u2028\u2029]+")
_ESCAPED_LINE_END = re.compile(rb"\\(?:[nrf]|u00(?:0[a-dA-D]|85)|u202[89])|\xc2\x85|\xe2\x80[\xa8\xa9]")
_BAD = (msgspec.ValidationError, RecursionError, OverflowError, ValueError)


def struct(value: Any, kind: type[S], strict: bool = True) -> S | None:
    """As much of `value` as fits `kind`; a key that is absent or of another type leaves the field's default.

    Not `strict`: a number may be given as text.

    None where `value` is not a JSON object, or a field without a default is absent or of another type.
    """
    try:
        return msgspec.convert(value, kind, strict=strict)
    except _BAD:
        return _by_field(value, kind, strict) if isinstance(value, dict) else None


def exact(value: Any, kind: type[S]) -> S | None:
    """`value` as a `kind`; None where any part of it is missing or of another type."""
    try:
        return msgspec.convert(value, kind)
    except _BAD:
        return None


def fault(value: Any, kind: type[msgspec.Struct], at: str = "") -> list[str]:
    """Why `value` is no `kind`: the field, what is expected there, what is found; empty where it is one."""
    try:
        msgspec.convert(value, kind)
    except _BAD as error:
        message, _, path = str(error).partition(" - at `$")
        field = f"{at}{path.rstrip('`')}".lstrip(".")
        text = message.replace("`", "")
        return [f"{field}: {text}" if field else text]
    return []


def one_line(value: Any) -> Any:
    """JSON with every text in it on one line: a name with a line end would look like lines of our own."""
    if isinstance(value, str):
        return value if value.isprintable() else _LINE_ENDS.sub(" ", value)
    if not isinstance(value, (dict, list)) or not _may_have_line_ends(value):
        return value
    if isinstance(value, dict):
        return {one_line(key): one_line(item) for key, item in value.items()}
    return [one_line(item) for item in value]


def has_line_ends(text: bytes) -> bool:
    """Whether a text in this JSON may have a line end. False is certain; few that have none give True."""
    return (b"\\" in text or not text.isascii()) and _ESCAPED_LINE_END.search(text) is not None


def _may_have_line_ends(value: Any) -> bool:
    """Tells most values, which have none, in a tenth of the time that looking at each text takes."""
    try:
        return has_line_ends(msgspec.json.encode(value))
    except (*_BAD, msgspec.MsgspecError, TypeError):  # nested too deep, or half of a surrogate pair
        return True


def structs(values: Any, kind: type[S]) -> list[S]:
    """Those of a JSON array that are a `kind`; none where it is no array."""
    items = values if isinstance(values, list) else []
    return [item for value in items if (item := struct(value, kind)) is not None]


def _by_field(value: Mapping[str, object], kind: type[S], strict: bool) -> S | None:
    fields = {}
    for spec in _fields(kind):
        if spec.encode_name in value:
            try:
                fields[spec.name] = _part(value[spec.encode_name], spec.type, strict)
            except _BAD:
                if spec.required:
                    return None
        elif spec.required:
            return None
    return kind(**fields)


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The fields of `kind`. msgspec evaluates the annotations at each call, which takes long."""
    return msgspec.structs.fields(kind)


def _part(value: Any, hint: Any, strict: bool) -> Any:
    """`value` as `hint`, item by item. Raises ValidationError."""
    kind, item = _struct_in(hint), _item_of(hint)
    if kind and isinstance(value, dict):
        part = struct(value, kind, strict)
        if part is None:
            raise msgspec.ValidationError("a required key is missing")
        return part
    if item and isinstance(value, (dict, list)):
        return msgspec.convert(_valid(value, item, strict), hint, from_attributes=True)
    return msgspec.convert(value, hint, strict=strict)


def _valid(values: Any, item: Any, strict: bool) -> Any:
    parts: dict[Any, Any] = {}
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        with contextlib.suppress(*_BAD):
            parts[key] = _part(value, item, strict)
    return parts if isinstance(values, dict) else list(parts.values())


@cache
def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    """The struct of `Struct` and `Struct | None`, not that of `tuple[Struct, ...]`."""
    for kind in (hint,) if get_origin(hint) in (list, tuple, dict) else (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind
    return None


@cache
def _item_of(hint: Any) -> Any:
    """The type of the items of a `list[…]`, `tuple[…, …]` or `dict[str, …]`, also where it may be None."""
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) in (list, tuple):
            return get_args(kind)[0]
        if get_origin(kind) is dict:
            return get_args(kind)[1]
    return None
