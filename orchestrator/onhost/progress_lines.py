"""One line of a log → what it says of a training, if it is a line of progress.

Formats: the bars of tqdm, Rich and Keras, Keras' and other programs' `name: value` lines, and dictionaries as
Hugging Face's Trainer prints them. A line is taken only if all of it has the form of such a line: a sentence
that mentions a loss, a list of settings or the name of a file is none.
"""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any, Iterator, NamedTuple

from orchestrator.core import jsontext
from orchestrator.onhost.progress_values import (
    NUMBER,
    Pair,
    Values,
    count,
    is_metric,
    is_rate,
    number,
    word_set,
    words,
)

LONGEST = 1000  # characters; a longer line is no line of progress


class Line(NamedTuple):
    """What a line says. `step` of `of`: of the bar, or of the whole training. `left`: seconds, as it says.

    `depth`: how many bars are above this one. `name`: the text before a bar, by which it is known again.
    """

    format: str
    text: str
    step: int | None = None
    of: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    left: float | None = None
    depth: int = 0
    name: str = ""
    values: Values = Values()


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_UP = "\x1b[A"


def parse(raw: str) -> Line | None:
    """What a line, or the part of one between two carriage returns, says; None if it is no progress."""
    if len(raw) > LONGEST or not any(letter.isdigit() for letter in raw):
        return None
    text = _ANSI.sub("", raw).strip()
    for read in (_tqdm, _rich, _keras, _mapping, _pairs):
        line = read(text)
        if line:
            return line._replace(text=text, depth=raw.count(_UP))
    return None


_TQDM = re.compile(
    r"[^|]{0,400}\|\s*(?P<n>[\d.]+[kMGT]?)/(?P<of>[\d.]+[kMGT]?)"
    r"\s*\[(?P<elapsed>[\d:]+)<(?P<left>[^,\]]*),\s*(?P<rate>[^,\]]*)(?:,\s*(?P<rest>.*?))?\]?"
)
_TQDM_OPEN = re.compile(
    r"(?P<n>[\d.]+[kMGT]?)it\s*\[(?P<elapsed>[\d:]+),\s*(?P<rate>[^,\]]*)(?:,\s*(?P<rest>.*?))?\]?"
)


def _tqdm(text: str) -> Line | None:
    name, bar, rest = text.partition("%|")
    if bar:
        match = _TQDM.fullmatch(rest)
        name = name.rstrip("0123456789").rstrip()
    elif "it [" in text:
        name, _, rest = text.rpartition(": ")
        match = _TQDM_OPEN.fullmatch(rest.strip())
    else:
        return None
    if not match or re.search(r"\dB/s|[kMGT]i?B/s", match["rate"]):
        return None
    values_by_name = match.groupdict()
    left = _seconds(values_by_name.get("left") or "")
    return _bar("tqdm", match["n"], values_by_name.get("of") or "", name, match["rest"] or "", left)


_RICH = re.compile(
    r"(?P<name>[^━╸╺]*)[━╸╺ ]+\s(?P<n>\d+)/(?P<of>\d+)\s+(?P<elapsed>[\d:-]+)\s+•"
    r"\s+(?P<left>[\d:-]+)(?:\s+(?P<rate>[\d.]+\s?it/s))?\s*(?P<rest>.*)"
)


def _rich(text: str) -> Line | None:
    """The bar of Lightning on a terminal. It counts epochs from 0 to the last one."""
    match = _RICH.fullmatch(text) if "•" in text and ("━" in text or "╺" in text) else None
    if not match:
        return None
    line = _bar("rich", match["n"], match["of"], match["name"], match["rest"], _seconds(match["left"]))
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


_VALUE = re.compile(rf"([A-Za-z][\w./@-]*)(?:\s*[:=]\s*|\s+)({NUMBER})(?![\w.])", re.IGNORECASE)


def _bar_pairs(text: str) -> Iterator[Pair]:
    """The values beside a bar. Their names are free, except where no `=` or `:` follows them."""
    for match in _VALUE.finditer(text):
        key, is_marked = match[1], match[0][len(match[1]) :].strip()[:1] in ("=", ":")
        if words(key)[:1] in (["epoch"], ["step"]) or not (is_marked or is_metric(key) or is_rate(key)):
            continue
        yield key, float(match[2])


_KERAS = re.compile(r"(?P<n>\d+)/(?P<of>\d+)\s+(?:━+|\[[=>.]+\])\s*(?P<rest>.*)")
_KERAS_LINE = re.compile(
    r"(?P<n>\d+)/(?P<of>\d+) - \d+m?s - (?:[\d.]+m?s/(?:step|epoch) - )?(?P<rest>\w+: .*)"
)
_HEADER = re.compile(r"Epoch:?\s+\[?(\d+)\s*/\s*(\d+)\]?:?", re.IGNORECASE)


def _keras(text: str) -> Line | None:
    if header := _HEADER.fullmatch(text):
        return Line("epoch", "", epoch=float(header[1]), epochs=int(header[2]))
    match = _KERAS.fullmatch(text) or _KERAS_LINE.fullmatch(text)
    return _bar("keras", match["n"], match["of"], "", match["rest"], None) if match else None


def _mapping(text: str) -> Line | None:
    """A dictionary or JSON object with a loss or a metric, and the step or the epoch that it belongs to."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        value = ast.literal_eval(text) if "'" in text else jsontext.parse(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    values_by_name = dict(_numbers(value))
    if "train_runtime" in values_by_name:  # Hugging Face's last line: means over the whole training
        return None
    place = {word: values_by_name.get(word) for word in ("epoch", "step", "global_step", "iteration", "iter")}
    values = Values().add(pair for pair in values_by_name.items() if is_metric(pair[0]) or is_rate(pair[0]))
    if not values or all(number is None for number in place.values()):
        return None
    epoch = place.pop("epoch")
    step = next(
        (int(number) for number in place.values() if number is not None and 0 <= number < 2**53), None
    )
    return Line("dictionary", "", step, epoch=epoch, values=values)


def _numbers(value: dict[Any, Any]) -> Iterator[Pair]:
    for key, item in value.items():
        if isinstance(item, str):
            item = number(item)
        if isinstance(key, str) and isinstance(item, (int, float)) and not isinstance(item, bool):
            with contextlib.suppress(OverflowError):
                yield key, float(item)


_STEPS = ("step", "iter", "iteration", "it", "batch", "update", "global_step", "globalstep")
_STEP_WORD = r"(?:global[_ ])?step|iter(?:ation)?|batch|update|epoch"
_LEVEL = rf".{{0,80}}?\b(?:INFO|DEBUG)\b[\s:\])|-]*(?:(?!{_STEP_WORD})[\w.]+(?::|\s-)\s*)?"
_TIME = r"\[?(?=\d{4}[-/]\d|\d\d:\d\d)\d[\d:.,/TZ+ -]{7,34}\]?\s*[|:-]?\s*"
_TAG = rf"\[(?!\s*(?:{_STEP_WORD}))[A-Za-z][\w ]*\]:?\s*"
_PREFIX = re.compile(rf"(?!\w*\W*(?:{_STEP_WORD})\b)(?:{_LEVEL}|{_TIME}|{_TAG})+", re.IGNORECASE)
_CIFAR = re.compile(r"\[\s*(\d+),\s*(\d+)\]\s*(?=\w)")
_FRACTION = re.compile(r"\[\s*(\d+)\s*/\s*(\d+)(?:\s*\(\d+%\))?\s*\]")
_PAIR = re.compile(
    rf"(?P<key>[A-Za-z][\w@/.-]*(?: [A-Za-z][\w@]*){{0,2}}?)(?P<mark>\s*[:=](?!=)\s*|\s+|\s*(?=\[))\[?\s*"
    rf"(?P<value>{NUMBER})(?:\s*/\s*(?P<of>\d+))?\s?\]?(?P<unit>%|(?:ms|s|min|it/s)\b|[a-zA-Z/]*/s\b)?"
    r"(?:\s?\(\s*[-+\d.e]+%?\s*\))?(?![\w.])",
    re.IGNORECASE,
)
# Words of lines that speak of a value from elsewhere, or of a setting.
_OTHER = word_set(
    "saving saved save loading loaded load resuming resumed resume restoring restored best checkpoint "
    "from if expected expect target config configuration args arguments usage example default defaults "
    "warmup namespace assert return raise did not reached should would will required requires threshold "
    "downloading installing at to with after until before every per set pip run warning error exception "
    "failed expecting patience"
)
_MEASURES = word_set("time data eta elapsed mem memory mfu tps tok tokens samples throughput norm")
_MEAN = re.compile(r"\(\s*[-+\d.e]+%?\s*\)")
_SET = word_set("test set val valid validation train training eval evaluation results result")


def _pairs(text: str) -> Line | None:
    """`step=10 loss=0.5`, `Epoch [1/10], Step [20/600], Loss: 2.1`, `[1, 2000] loss: 2.2`, …"""
    if prefix := _PREFIX.match(text):
        text = text[prefix.end() :]
    epoch, epochs, step, of = None, None, None, None
    if cifar := _CIFAR.match(text):
        epoch, step, text = float(cifar[1]), int(cifar[2]), text[cifar.end() :]
    if fraction := _FRACTION.search(text):
        before = text[: fraction.start()].lower()
        if re.search(r"epoch\W*\d+\W*$|epoch\W*\[\d+\]\s*$", before):
            step, of = int(fraction[1]), int(fraction[2])
            text = text[: fraction.start()] + " " + text[fraction.end() :]
    pairs, rest, others = [], text, 0
    for match in _PAIR.finditer(text):
        key, value = match["key"], float(match["value"])
        name = split_words(key)
        if "epoch" in name[:1] and len(name) == 1:
            epoch, epochs = value, int(match["of"]) if match["of"] else epochs
        elif name and name[0] in _STEPS and len(name) == 1 and value.is_integer() and value >= 0:
            step, of = int(value), int(match["of"]) if match["of"] else of
        elif is_metric(key) or is_rate(key):
            pairs.append((key, value / float(match["of"]) if match["of"] and float(match["of"]) else value))
        elif not match["mark"].strip() and not match["unit"] and not (_MEASURES.intersection(words(key))):
            continue
        else:
            others += 1
        rest = rest.replace(match[0], " ", 1)
    return _accepted(_MEAN.sub(" ", rest), Line("pairs", "", step, of, epoch, epochs), pairs, others)


def _accepted(rest: str, line: Line, pairs: list[Pair], others: int) -> Line | None:
    """The line with its values, if it has a metric, and nothing else that another line would have."""
    residue = [word.lower() for word in re.findall(r"[A-Za-z]{2,}", rest)]
    split = next((word for word in residue if word in ("val", "valid", "validation", "eval", "test")), "")
    values = Values({"": "train", "test": "test"}.get(split, "val")).add(pairs)
    if not values or any(mark in rest for mark in ("==", "'", '"', "(", "{", "/", "\\", "->")):
        return None
    if line.step is None and line.epoch is None:
        has_loss = any("loss" in words(key) for key, _ in pairs)
        return line._replace(values=values) if has_loss and not others and set(residue) <= _SET else None
    if len(residue) > 2 or _OTHER.intersection(residue) - _SET:
        return None
    return line._replace(values=values)


def split_words(key: str) -> list[str]:
    """The words of a name without that of its split: `Train Epoch` → epoch; `global_step` stays one word."""
    if key.lower() in _STEPS:
        return [key.lower()]
    return [word for word in words(key) if word not in ("train", "training", "val", "eval", "test")]


_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+)$")


def _seconds(clock: str) -> float | None:
    """`1:02:03` → 3723; None for anything else."""
    match = _CLOCK.match(clock.strip())
    if not match:
        return None
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
