"""One line of names and values: `step=10 loss=0.5`, `Epoch [1/10], Step [20/600], Loss: 2.1`.

A line is taken only if all of it has that form: a sentence that mentions a loss, a list of settings or the
name of a file is none.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from orchestrator.onhost.progress_prefix import STEP, without_prefix
from orchestrator.onhost.progress_values import (
    NUMBER,
    SPLITS,
    Line,
    Pair,
    Values,
    is_metric,
    is_plain_metric,
    is_rate,
    may_have_metric,
    seconds,
    split_of,
    to_float,
    unit_of,
    word_set,
    words,
)

_UNIT = (
    r"%|[kKMBGT]\b|(?:[kKMGT]i?B|[mµu]?s|secs?|seconds?|m|mins?|minutes?|h|hours?|it)\b(?:\s?/\s?[a-z]{1,6}\b)?"
    r"|[A-Za-z]{0,12}/s(?:ec)?\b"
)
_HAS_CLOCK = re.compile(r"\d:\d\d")
_CLOCK = re.compile(
    r"\b(?P<key>[A-Za-z][A-Za-z_ ]{0,20})(?:\s*[:=]\s*|\s)"
    r"(?P<clock>(?:\d+ days?, )?\d+:\d\d(?::\d\d)?)(?:\.\d+)?(?![\w:])"
)
# Values whose names are sentences or calls: `elapsed time per iteration (ms): 12.5`, `D(G(z)): 0.5 / 0.1`.
_ASIDE = re.compile(
    r"(?<!\w)(?P<key>[A-Za-z]\w{0,40}(?: [A-Za-z]\w{0,40}){3,5}(?:\s?\([A-Za-z/]+\))?"
    r"|[A-Za-z]\w{0,40}(?: [A-Za-z]\w{0,40}){0,2}\s?\([A-Za-z/]+\)"
    rf"|[A-Za-z]\w{{0,40}}\(\w*\([a-z]\)\))\s*[:=]\s*{NUMBER}(?:\s*/\s*{NUMBER})*(?:\s?(?:{_UNIT}))?(?!\w|\.\w)",
    re.IGNORECASE,
)
_HAS_ASIDE = re.compile(r"\(|(?:[A-Za-z]\w{0,40} ){3}")
_PAIR = re.compile(
    r"(?<!\w)(?P<key>[A-Za-z_][\w@/.'-]{0,80}(?: [A-Za-z][\w@.]{0,40}){0,2}?)"
    r"(?P<mark>\s*[:=](?!=)\s*|\s+|\s*(?=\[))\[?\s*"
    rf"(?P<value>{NUMBER})(?:\s*(?P<mid>/|of\b)\s*(?P<of>\d+))?\s?\]?(?P<unit>{_UNIT})?(?!\w|\.\w)",
    re.IGNORECASE,
)
_BARE = re.compile(rf"(?<![\w.])(?:{NUMBER})\s?(?:{_UNIT}|steps\b|batch(?:es)?\b)(?!\w)|\d+:\d\d(?::\d\d)?")
# Words of lines that speak of a value from elsewhere, or of a setting.
_OTHER = word_set(
    "saving saved save loading loaded load resuming resumed resume restoring restored best checkpoint "
    "from if expected expect target config configuration args arguments usage example default defaults "
    "warmup namespace assert return raise did not reached should would will required requires threshold "
    "downloading installing at to with after until before every per set pip run warning error exception "
    "failed expecting patience early stopping warn traceback version"
)
_MEASURES = word_set("time data eta elapsed mem memory mfu tps tok tokens samples throughput norm")
_SET = word_set("set result results error metrics metric score scores end of") | frozenset(SPLITS)
_NO_VALUE = re.compile(r"==|['\"({/\\]|->")
_CODE = re.compile(r"(?<!\S)--\w|\b(?:raise|assert|elif|lambda|self)\b|;\s*$")


class _Position(NamedTuple):
    """`form`: how the position is written, if not as a name and a number."""

    step: int | None = None
    of: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    form: str = ""


class _Pairs(NamedTuple):
    """What was found in a line, and what is left of it. `others`: how many values are no metrics.

    `is_marked`: a `:` or `=` is before each value of a metric.
    """

    position: _Position
    pairs: list[Pair]
    others: int
    rest: str
    is_marked: bool


def parse(text: str, split: str = "") -> Line | None:
    """What a line says. `split`: of its values, where it says neither that nor its step or epoch."""
    text = without_prefix(text)
    if heading := _heading(_CLOCK.sub(" ", text) if _HAS_CLOCK.search(text) else text):
        return heading
    if not may_have_metric(text):
        return None
    left = None
    if _HAS_CLOCK.search(text):
        for clock in _CLOCK.finditer(text):
            if words(clock["key"])[-1:] in (["eta"], ["remaining"], ["left"]):
                left = seconds(clock["clock"])
        text = _CLOCK.sub(" ", text)
    if evaluation := _EVALUATION.match(text):
        split = SPLITS.get(evaluation["split"].lower(), "")
        if split and int(evaluation["n"]) < int(evaluation["of"]):  # its values are not those of the whole
            return Line("pairs", "", split=split)
        text = text[evaluation.end() :].lstrip(" ]") if split else text
    is_evaluation = bool(evaluation and split)
    position, text = _find_position(text)
    result = _find_pairs(position, text)
    values = _accepted(result, split, is_evaluation)
    if values is None or _CODE.search(text):
        return None
    position = result.position
    is_counted = position.form in ("first", "last")
    return Line("pairs", "", *position[:4], left, values=values, is_counted=is_counted)


_EPOCH = re.compile(
    r"(?:(?:start(?:ing)?|begin(?:ning)?|train(?:ing)?)\s+)?\[?epoch\W{0,3}(\d+)(?:\s*(?:/|of)\s*(\d+))?\W*"
    r"(?:(?:summary|results?)\W*)?(?:(?:lr|learning[ _]rate)\W{1,3}[\d.e-]+\W*)?",
    re.IGNORECASE,
)
_BATCH = re.compile(
    r"\[?(?:iter(?:ation)?|batch|update)\W{0,3}(\d+)\s*(?:/|of)\s*(\d+)[\]:\W]*", re.IGNORECASE
)


def _heading(text: str) -> Line | None:
    """`Epoch 3`, `=== Epoch 3/10 ===`, `[batch=20/600]:`, which say where the values after them belong."""
    if epoch := _EPOCH.fullmatch(text):
        return Line("epoch", "", epoch=float(epoch[1]), epochs=int(epoch[2]) if epoch[2] else None)
    batch = _BATCH.fullmatch(text)
    return Line("pairs", "", int(batch[1]), int(batch[2])) if batch else None


_EVALUATION = re.compile(
    r"(?P<split>val\w*|eval\w*|test\w*)\b\W{0,4}(?:epoch\W{0,3}\d+\s*\]?[\s,|:]*)?\[?\s*(?P<n>\d+)\s*/\s*(?P<of>\d+)\b",
    re.IGNORECASE,
)


_EPOCH_AND_STEP = r"\[\s*(?P<step>\d+)\s*/\s*(?P<of>\d+)[^\]]{0,20}\]"
_POSITIONS = (
    (
        "both",  # Epoch: [3][10/100]   [3/9][10/100]
        re.compile(
            r"(?:\w{1,10} )?(?:epoch\W{0,3})?\[\s*(?P<epoch>\d+)\s*(?:/\s*(?P<epochs>\d+)\s*)?\]\s*"
            + _EPOCH_AND_STEP,
            re.IGNORECASE,
        ),
    ),
    ("both", re.compile(r"\[\s*(?P<epoch>\d+),\s+(?P<step>\d+)(?:\s*/\s*(?P<of>\d+))?\]\s*[:-]?\s*(?=\w)")),
    (
        "both",  # Train Epoch: 1 [640/60000]   epoch 001: 10 / 100   | epoch 1 | 200/ 2928 batches
        re.compile(
            r"(?:.{0,20}\bepoch|train(?:ing)?)\b\W{0,4}(?P<epoch>\d+)(?:\s*/\s*(?P<epochs>\d+))?(?![\w.])[^\w.]{1,12}"
            r"(?P<step>\d+)\s*/\s*(?P<of>\d+)(?![\w./])(?:\s*\])?",
            re.IGNORECASE,
        ),
    ),
    ("round", re.compile(r"(?:\[(?P<step>\d+)\]|(?P<n>\d+):)\s+(?=[A-Za-z])")),  # of boosted trees
    (
        "first",
        re.compile(
            r"(?:\d{1,3}%[\s:|]*)?(?:\[\s*)?(?P<step>\d+)\s*/\s*(?P<of>\d+)\s*\]?(?:\s*[:|,-]\s*|\s+)(?=[A-Za-z])"
        ),
    ),
    ("last", re.compile(r".{0,200}?(?P<cut>\[\s*(?P<step>\d+)\s*/\s*(?P<of>\d+)\s*\])\s*")),
)


def _find_position(text: str) -> tuple[_Position, str]:
    """Where the line is in the training, if a form without names says so; and the text without that."""
    for form, pattern in _POSITIONS:
        match = pattern.fullmatch(text) if form == "last" else pattern.match(text)
        if match:
            got = match.groupdict()
            step = got.get("step") or got.get("n")
            numbers = [int(got[name]) if got.get(name) else None for name in ("of", "epochs")]
            epoch = float(got["epoch"]) if got.get("epoch") else None
            start, end = match.span("cut") if form == "last" else match.span()
            if form == "last" and STEP.search(text):
                continue  # `Step [20/600]`
            position = _Position(int(step) if step else None, numbers[0], epoch, numbers[1], form)
            return position, text[:start] + " " + text[end:]
    return _Position(), text


def _find_pairs(position: _Position, text: str) -> _Pairs:
    text, others = _ASIDE.subn(_aside, text) if _HAS_ASIDE.search(text) else (text, 0)
    pairs, rest, end, split, is_marked = [], text, 0, "", True
    names_split = _split_in(text)
    for match in _PAIR.finditer(text):
        key, value = match["key"], to_float(match["value"])
        if names_split:
            split = _split_in("%s %s" % (text[end : match.start()], key)) or split
        kind = unit_of(key)
        of = int(match["of"]) if match["of"] else None
        if kind == "epoch":
            position = position._replace(epoch=value, epochs=of or position.epochs)
        elif kind == "step" and value.is_integer() and 0 <= value < 2**53 and not match["unit"]:
            position = position._replace(step=int(value), of=of or position.of, form="")
        elif is_rate(key):
            pairs.append((key, value))
        elif _is_value(key, position.form) and match["mid"] != "of" and not _is_time(match["unit"]):
            own = split_of(key)[0]
            is_marked = is_marked and bool(match["mark"].strip())
            pairs.append((key if own or not split else "%s %s" % (split, key), value / of if of else value))
        elif not (match["mark"].strip() or match["unit"] or "/" in key or _MEASURES.intersection(words(key))):
            continue
        else:
            others += 1
        rest, end = rest.replace(match[0], " ", 1), match.end()
    return _Pairs(position, pairs, others, rest, is_marked)


_WORD = re.compile(r"(?<![\w-])[a-z]+(?![\w-])")


def _split_in(text: str) -> str:
    """The split that the last word for one names, of words that are no part of a name."""
    splits = [SPLITS[word] for word in _WORD.findall(text.lower()) if word in SPLITS]
    return splits[-1] if splits else ""


def _aside(match: re.Match[str]) -> str:
    """A space in place of the pair; the pair itself if a word of its key is about something else."""
    return match[0] if (_OTHER - {"per"}).intersection(words(match["key"])) else " "


def _is_value(key: str, form: str) -> bool:
    return is_metric(key) or (form == "round" and bool(split_of(key)[0]))


def _is_time(unit: str | None) -> bool:
    return bool(unit) and unit != "%"


def _accepted(result: _Pairs, split: str, is_evaluation: bool) -> Values | None:
    """The values of the line, if it has a metric, and nothing else that another line would have.

    `is_evaluation`: the line said that it is of a whole evaluation.
    """
    position, pairs, rest = result.position, result.pairs, _BARE.sub(" ", result.rest)
    residue = [word.lower() for word in re.findall(r"[A-Za-z]{2,}", rest)]
    if _NO_VALUE.search(rest):
        return None
    of_rest = next((SPLITS[word] for word in residue if word in SPLITS), "")
    has_position = position.step is not None or position.epoch is not None
    values = Values(of_rest or ("" if has_position else split) or "train").add(pairs)
    has_position = has_position or is_evaluation
    if not values:
        return None
    has_loss = any("loss" in words(key) for key, _ in pairs)
    if position.form == "round":
        return values if not residue and all(split_of(key)[0] for key, _ in pairs) else None
    if position.form in ("first", "last"):
        return values if has_loss and set(residue) <= _SET else None
    if not has_position:
        is_named = bool(split) and result.is_marked
        is_plain = has_loss or (bool(pairs) and all(is_named or is_plain_metric(key) for key, _ in pairs))
        return values if is_plain and not result.others and set(residue) <= _SET else None
    if len(residue) > 2 + sum(word in SPLITS for word in residue) or _OTHER.intersection(residue) - _SET:
        return None
    return values
