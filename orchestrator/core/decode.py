"""JSON that a host, a run or an older version wrote → structs. A bad value costs that value, nothing else."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

Seconds = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
"""A time or a duration that can be computed with and printed: finite."""
Count = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]


def struct(value: Any, kind: type[S]) -> S | None:
    """As much of `value` as fits `kind`; a key that is absent or of another type leaves the field's default.

    None where `value` is not a JSON object, or a field without a default is absent or of another type.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError):
        return _by_field(value, kind) if isinstance(value, dict) else None


def structs(values: Any, kind: type[S]) -> list[S]:
    """Those of a JSON array that are a `kind`; none where it is no array."""
    items = values if isinstance(values, list) else []
    return [item for value in items if (item := struct(value, kind)) is not None]


def _by_field(value: dict[str, Any], kind: type[S]) -> S | None:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in value:
            try:
                fields[field.name] = _part(value[field.encode_name], field.type)
            except (msgspec.ValidationError, RecursionError):
                if field.required:
                    return None
        elif field.required:
            return None
    return kind(**fields)


def _part(value: Any, hint: Any) -> Any:
    """`value` as `hint`, item by item. Raises ValidationError."""
    kind, item = _struct_in(hint), _item_of(hint)
    if kind and isinstance(value, dict):
        part = struct(value, kind)
        if part is None:
            raise msgspec.ValidationError("a required key is missing")
        return part
    if item and isinstance(value, list):
        return msgspec.convert(_valid(value, item), hint, from_attributes=True)
    return msgspec.convert(value, hint)


def _valid(values: list[Any], item: Any) -> list[Any]:
    parts = []
    for value in values:
        try:
            parts.append(_part(value, item))
        except (msgspec.ValidationError, RecursionError):
            continue
    return parts


@cache
def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    """The struct of `Struct` and `Struct | None`."""
    for kind in (hint, *get_args(hint)):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return kind
    return None


@cache
def _item_of(hint: Any) -> Any:
    """The type of the items of a `list[…]` or `tuple[…, …]`, also where it may be None."""
    for kind in (hint, *get_args(hint)):
        if get_origin(kind) in (list, tuple):
            return get_args(kind)[0]
    return None
