"""The columns of a table of blendshapes: known names, other namings of the same, and one-hot labels.

Standard library only.
"""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trainers.blendshapes import names
from trainers.blendshapes.names import EXTRA, LABEL
from trainers.data import emotions
from trainers.data.refusal import Unusable

Lines = list[tuple[int, Sequence[Any]]]
"""Each line's number and its cells, one for each column."""


def usual(columns: Sequence[str], lines: Lines) -> tuple[list[str], Lines]:
    """The table with the usual names, read as they are.

    `b0` to `b51` become MediaPipe's names in its order, other spellings such as `brow_down_left` become its
    names, `path` and the like become `file`, and columns of 0 and 1 that are named after emotions become the
    column `label`. A first or last column without a name is left out: row numbers of pandas, a comma at the
    end of each line.
    """
    columns, lines = _named(columns, lines)
    known = {name: _SQUASHED[_squash(name)] for name in columns if _squash(name) in _SQUASHED}
    if set(names.COUNTED) <= set(columns):
        known |= dict(zip(names.COUNTED, names.ALL, strict=True))
    extra = {word: name for word, name in names.SPELLINGS.items() if name not in columns}
    columns = [known.get(name, extra.get(name.lower(), name)) for name in columns]
    hot = [index for index, name in enumerate(columns) if emotions.meaning(name)]
    if LABEL in columns or len(hot) < 2:
        return list(columns), lines
    rest = [index for index in range(len(columns)) if index not in hot]
    made: Lines = []
    for line, cells in lines:
        if len(cells) != len(columns):
            made.append((line, cells))
            continue
        named = [columns[index] for index in hot if number(cells[index]) == 1.0]
        others = [index for index in hot if number(cells[index]) not in (0.0, 1.0)]
        label = named[0] if len(named) == 1 and not others else f"{len(named)} emotions at once"
        made.append((line, [*(cells[index] for index in rest), label]))
    return [*(columns[index] for index in rest), LABEL], made


def _squash(name: str) -> str:
    return name[:1].lower() + name[1:].replace("_", "").lower()


_SQUASHED = {_squash(name): name for name in names.ALL}


def _named(columns: Sequence[str], lines: Lines) -> tuple[list[str], Lines]:
    ends = {0, len(columns) - 1}  # elsewhere, a name is missing
    unnamed = {index for index in ends if columns and _UNNAMED.fullmatch(columns[index])}
    kept = [index for index in range(len(columns)) if index not in unnamed]
    if not unnamed:
        return list(columns), lines
    width = len(columns)
    picked = [(n, [cells[i] for i in kept] if len(cells) == width else cells) for n, cells in lines]
    return [columns[index] for index in kept], picked


_UNNAMED = re.compile(r"(Unnamed: \d+)?")
"""No name, and what pandas calls a column without one."""


def suggest(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean …?` with the closest known word, or an empty string."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def header(columns: Sequence[str], required: Sequence[str], labelled: bool) -> bool:
    """Return whether the blendshape columns are in MediaPipe's order.

    Raises Unusable if there is no header, or if columns are missing, unknown or repeated.
    """
    if len(columns) == 1 and columns[0] not in (*names.ALL, *EXTRA):
        raise Unusable("is not separated by commas", columns[0][:60], code="schema.layout")
    if columns and number(columns[0]) is not None and not set(columns) & set(names.ALL):
        detail = "the first line must name the columns, such as browDownLeft"
        raise Unusable("has no header", detail, code="schema.layout")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise Unusable("names a column twice", ", ".join(twice[:5]), code="schema.layout")
    strange = [name for name in columns if name not in names.ALL and name not in EXTRA]
    if strange:
        known = (*names.ALL, *EXTRA)
        detail = ", ".join(f"{name[:60]!r}{suggest(name, known)}" for name in strange[:5])
        raise Unusable("has columns that are no blendshape", detail, code="schema.layout")
    missing = [name for name in (*required, *([LABEL] if labelled else [])) if name not in columns]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Unusable("lacks columns", ", ".join(missing[:5]) + more, code="schema.layout")
    indices = [names.ALL.index(name) for name in columns if name in names.ALL]
    return indices == sorted(indices)


def number(text: Any) -> float | None:
    """The number that a cell holds, or None; a decimal comma is read too, `0.1_2` as Python has it is not."""
    try:
        if isinstance(text, str):
            return None if "_" in text else float(text.replace(",", "."))
        return float(text)
    except (ValueError, TypeError):
        return None
