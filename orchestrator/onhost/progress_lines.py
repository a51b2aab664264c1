"""One line of a log → what it says of a training, if it is a line of progress.

Formats: the bars of tqdm, Rich, Keras, fastai and Ultralytics, dictionaries as Hugging Face's Trainer prints
them, and lines of names and values (`progress_pairs`).
"""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any, Iterator

from orchestrator.core import jsontext
from orchestrator.onhost import progress_pairs
from orchestrator.onhost.progress_prefix import without_prefix
from orchestrator.onhost.progress_values import (
    NUMBER,
    SPLITS,
    Line,
    Pair,
    Values,
    count,
    is_measured,
    is_metric,
    is_rate,
    number,
    seconds,
    to_float,
    unit_of,
    words,
)

LONGEST = 4000  # characters; a longer line is no line of progress
_LONGEST_PAIRS = 1000  # of a line that is no dictionary

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_UP = "\x1b[A"
_WRAPPED = re.compile(rf"\b(?:tensor|np\.float\d+|np\.int\d+|array)\(\s*({NUMBER})(?:,[^()]{{0,80}})?\)")


def plain(raw: str) -> str:
    """A line without the codes of a terminal, and without what a program puts around a number."""
    text = _ANSI.sub("", raw).strip()
    return _WRAPPED.sub(r"\1", text) if "(" in text else text


def parse(raw: str, split: str = "") -> Line | None:
    """What a line, or the part of one between two carriage returns, says; None if it is no progress.

    `split`: of the values of a line that says neither that nor where in the training they are.
    """
    if len(raw) > LONGEST or not any(letter.isdigit() for letter in raw):
        return None
    text = plain(raw)
    line = _mapping(text, split) if text.endswith("}") else None
    if not line and len(raw) <= _LONGEST_PAIRS:
        line = _tqdm(text) or _rich(text) or _keras(text) or progress_pairs.parse(text, split)
    return line._replace(text=text, depth=raw.count(_UP)) if line else None


_NUMBERS = r"(?P<n>[\d.]+[kMGT]?)/(?P<of>[\d.]+[kMGT]?)"
_TQDM = re.compile(
    rf"[^|]{{0,400}}\|\s*{_NUMBERS}\s*(?:"
    r"\[\s*(?P<elapsed>[\d:]+)\s*<\s*(?P<left>[^,\]]*),\s*(?P<rate>[^,\]]*)(?:,\s*(?P<rest>.*?))?\]?)?"
)
_TQDM_OPEN = re.compile(
    r"(?P<n>[\d.]+[kMGT]?)\s?[A-Za-z]+\s*\[(?P<elapsed>[\d:]+),\s*(?P<rate>[^,\]]*)(?:,\s*(?P<rest>.*?))?\]?"
)
# fastai's `|███--| 40.00% [40/100 00:02<00:03 0.51]`; tqdm.rich's and Ultralytics' `40% ━━── 4/10 3.5it/s`
_SLASHED = re.compile(
    rf"(?P<name>[^|]{{0,200}})\|[█-]{{5,200}}\|\s*[\d.]+%\s*\[{_NUMBERS}\s+\S+<(?P<left>[\d:]+)(?P<rest>.*)\]"
)
_LINED = re.compile(
    rf"(?P<name>.{{0,400}}?):?\s*\d+%\s+[━╸╺─]{{5,200}}\s+{_NUMBERS}\s+"
    r"(?:\[\s*\S+\s*<\s*(?P<left>[\d:-]+)\s*,\s*)?(?P<rate>[\d.]+\s?[A-Za-z]*/s|\?)?.*"
)
_BYTES = re.compile(r"\dB/s|[kKMGT]i?B/s")
_DOWNLOAD = 1e5  # steps a second that no training makes, of a bar without a name


def _tqdm(text: str) -> Line | None:
    name, bar, rest = text.partition("%|")
    if bar:
        match = _TQDM.fullmatch(rest)
        name = name.rstrip("0123456789").rstrip()
    elif "[" in text and ("/s" in text or "s/" in text) and "<" not in text:
        name, _, rest = text.rpartition(": ")
        match = _TQDM_OPEN.fullmatch(rest.strip())
    else:
        return _other_bar(text)
    if not match:
        return None
    values_by_name = match.groupdict()
    rate = match["rate"] or ""
    if _BYTES.search(rate) or (not name and (number(rate.split("it/s")[0]) or 0.0) > _DOWNLOAD):
        return None
    left = seconds(values_by_name.get("left") or "")
    return _bar("tqdm", match["n"], values_by_name.get("of") or "", name, match["rest"] or "", left)


def _other_bar(text: str) -> Line | None:
    match = _SLASHED.fullmatch(text) if "|" in text and "%" in text else None
    if match:
        line = _bar("tqdm", match["n"], match["of"], match["name"], "", seconds(match["left"]))
        loss = re.fullmatch(rf"\s+({NUMBER})", match["rest"])
        return line._replace(values=Values().add([("loss", to_float(loss[1]))])) if loss else line
    match = _LINED.fullmatch(text) if "━" in text and "%" in text else None
    if not match or _BYTES.search(match["rate"] or ""):
        return None
    return _bar("tqdm", match["n"], match["of"], match["name"], "", seconds(match["left"] or ""))


_RICH = re.compile(
    r"(?P<name>[^━╸╺]*)[━╸╺ ]+\s(?P<n>\d+)/(?P<of>\d+)\s+(?P<elapsed>[\d:-]+)\s+•"
    r"\s+(?P<left>[\d:-]+)(?:\s+(?P<rate>[\d.]+\s?it/s))?\s*(?P<rest>.*)"
)


def _rich(text: str) -> Line | None:
    """The bar of Lightning on a terminal. It counts epochs from 0 to the last one."""
    match = _RICH.fullmatch(text) if "•" in text and ("━" in text or "╺" in text) else None
    if not match:
        return None
    line = _bar("rich", match["n"], match["of"], match["name"], match["rest"], seconds(match["left"]))
    if line.epoch is None or line.epochs is None:
        return line
    return line._replace(epoch=line.epoch + 1, epochs=line.epochs + 1)


_EPOCH_NAME = re.compile(r"\bepochs?\b\W{0,3}(\d+)(?:\s*/\s*(\d+))?", re.IGNORECASE)


def _bar(format: str, n: str, of: str, name: str, rest: str, left: float | None) -> Line:
    named = _EPOCH_NAME.search(name)
    pairs = [(key, value) for key, value in _bar_pairs(f"{name}, {rest}") if key.lower() != "v_num"]
    return Line(
        format,
        "",
        count(n),
        count(of) if of else None,
        float(named[1]) if named else None,
        int(named[2]) if named and named[2] else None,
        left,
        name=_VALUE.sub("", _EPOCH_NAME.sub("", name)).strip(" :"),
        values=Values().add(pairs),
    )


_VALUE = re.compile(rf"(?<![\w.])([A-Za-z][\w./@-]*)(?:\s*[:=]\s*|\s+)({NUMBER})(?![\w.])", re.IGNORECASE)


def _bar_pairs(text: str) -> Iterator[Pair]:
    """The values beside a bar. Their names are free, except where no `=` or `:` follows them."""
    for match in _VALUE.finditer(text):
        key, is_marked = match[1], match[0][len(match[1]) :].strip()[:1] in ("=", ":")
        if words(key)[:1] in (["epoch"], ["step"]) or not (is_marked or is_metric(key) or is_rate(key)):
            continue
        yield key, to_float(match[2])


_KERAS = re.compile(r"(?P<n>\d+)/(?P<of>\d+)\s+(?:━+|\[[=>.]+\])\s*(?P<rest>.*)")
_KERAS_LINE = re.compile(
    r"(?P<n>\d+)/(?P<of>\d+) - \d+m?s - (?:[\d.]+m?s/(?:step|epoch) - )?(?P<rest>\w+: .*)"
)


def _keras(text: str) -> Line | None:
    match = _KERAS.fullmatch(text) or _KERAS_LINE.fullmatch(text)
    return _bar("keras", match["n"], match["of"], "", match["rest"], None) if match else None


_ODD = re.compile(r"(?<=[\s:\[(,])(?:-?\b(?:nan|inf)\b)")
_BEFORE = re.compile(
    r"(?:(?P<split>[a-z]+)\W{0,3}|)(?:(?P<unit>epoch|step|iter(?:ation)?)\W{0,3}(?P<n>\d+)\s*(?:/\s*(?P<of>\d+))?)?"
    r"\W{0,5}(?:(?:metrics|results?|logs?|scores?|losses)\W{0,3})?",
    re.IGNORECASE,
)
_RESULTS = re.compile("metrics|results|scores", re.IGNORECASE)


def _mapping(text: str, split: str) -> Line | None:
    """A dictionary or JSON object with a loss or a metric, and the step or the epoch that it belongs to."""
    before, _, content = text.partition("{")
    match = _BEFORE.fullmatch(without_prefix(before))
    value = _parsed("{" + content) if match else None
    if not match or value is None or "train_runtime" in value:  # Hugging Face's last line: means over all
        return None
    named = match["split"].lower() if match["split"] else ""
    if named and named not in SPLITS:
        return None
    numbers = dict(_numbers(value))
    positions: dict[str, float] = {}
    for key, found in numbers.items():
        if unit_of(key.rpartition("/")[2]):
            kind = unit_of(key.rpartition("/")[2])
            if kind == "epoch" or found.is_integer():
                positions.setdefault(kind, found)
    if match["n"]:
        positions[unit_of(match["unit"]) or "epoch"] = float(match["n"])
    pairs = [pair for pair in numbers.items() if is_measured(pair[0])]
    values = Values(SPLITS.get(named) or ("" if positions else split) or "train").add(pairs)
    if not values or not (positions or named or split or _RESULTS.search(before)):
        return None
    step = positions.get("step", -1.0)
    return Line(
        "dictionary",
        "",
        int(step) if 0 <= step < 2**53 else None,
        int(match["of"]) if match["of"] and unit_of(match["unit"]) == "step" else None,
        positions.get("epoch"),
        int(match["of"]) if match["of"] and unit_of(match["unit"]) == "epoch" else None,
        values=values,
    )


def _parsed(text: str) -> dict[Any, Any] | None:
    """A dictionary as Python or JSON writes it, also with `nan`, which neither of them reads."""
    try:
        value = (
            ast.literal_eval(_ODD.sub(lambda odd: repr(odd[0]), text))
            if "'" in text
            else jsontext.parse(text)
        )
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _numbers(value: dict[Any, Any], above: str = "") -> Iterator[Pair]:
    """The numbers of a dictionary and of those in it, whose names are put before: `val/loss`."""
    for key, item in value.items():
        if not isinstance(key, str):
            continue
        if isinstance(item, dict) and not above:
            yield from _numbers(item, key + "/")
        if isinstance(item, str):
            item = number(item)
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            with contextlib.suppress(OverflowError):
                yield above + key, float(item)
