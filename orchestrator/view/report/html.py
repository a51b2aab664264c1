"""HTML from text that others wrote: every value is escaped here, and nothing else makes a tag."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import msgspec

from orchestrator.core.text import plain


class Html(msgspec.Struct, frozen=True):
    """Markup of our own. A `str` is text, and is escaped wherever it is put."""

    markup: str


Content = Html | str
NOTHING = Html("")


def text(value: Content) -> str:
    """Markup as it is; text without control and invisible characters, escaped."""
    return value.markup if isinstance(value, Html) else escape(plain(value), quote=True)


def tag(name: str, *content: Content, **attributes: str) -> Html:
    """An element; `class_` and `for_` name the attributes that are words of Python."""
    shown = "".join(f' {key.rstrip("_")}="{escape(plain(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{shown}>{''.join(map(text, content))}</{name}>")


def join(parts: Iterable[Content]) -> Html:
    return Html("".join(map(text, parts)))


def table(head: Sequence[Content], rows: Iterable[Sequence[Content]], class_: str = "") -> Html:
    """Scrolls to the side where it is wider than the page."""
    header = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", header if head else NOTHING, body, class_=class_), class_="wide")


def section(title: str, *content: Content) -> Html:
    return tag("section", tag("h2", title), *content)


def details(title: Content, *content: Content) -> Html:
    return tag("details", tag("summary", title), *content)
