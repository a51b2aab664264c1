"""What stands before the content of a line, such as a time, a level or marks; and notes in it."""

from __future__ import annotations

import re

from orchestrator.onhost.progress_values import NUMBER, STEP_WORD, is_metric

_LEVEL = (
    r".{0,80}?\b(?:INFO|DEBUG)\b[\s:\])|-]*"
    rf"(?:(?!(?:{STEP_WORD})\b)[\w.<>]+(?:(?::[\w.<>]+)*\s[-|]\s|:)\s*)?"
)
_TIME = (
    r"\[?(?=\d{4}[-/]\d|\d\d:\d\d|\d\d/\d\d \d\d:)\d[\d:.,/TZ+ -]{7,34}(?:[A-Za-z][\w.]*\]|\])?\s*[|:-]*\s*"
)
_TAG = rf"\[(?!\s*(?:{STEP_WORD}))[A-Za-z][\w ]*\]:?\s*"
_ORIGIN = r"\(\w+ pid=\d+[^)]*\)\s*|\[\d+,\d+\]<\w+>:?\s*"  # of Ray and of mpirun
_HAS_LEVEL = re.compile("INFO|DEBUG", re.IGNORECASE)
_NO_PLACE = rf"(?!\w*\W*(?:{STEP_WORD})\b)"
_PREFIX = re.compile(rf"{_NO_PLACE}(?:{_LEVEL}|{_TIME}|{_TAG}|{_ORIGIN})+", re.IGNORECASE)
_SHORT_PREFIX = re.compile(rf"{_NO_PLACE}(?:{_TIME}|{_TAG}|{_ORIGIN})+", re.IGNORECASE)
_RANK = re.compile(rf"\d+:\s+(?=(?:{STEP_WORD})\b)", re.IGNORECASE)  # of srun
_MARKS = re.compile(r"(?:[|*>#=~-]{1,80}\s+)?(?:end of (?=epoch))?", re.IGNORECASE)
_NOTE = re.compile(r"\(([^()]{1,60})\)")
STEP = re.compile(rf"\b(?:{STEP_WORD})\b", re.IGNORECASE)
_OUT_OF = re.compile(r"\b(?:completed |finished |done )?out of (?=\d)")
_NAMED_STEP = re.compile(r"\b(epoch|iter)\s*\(\s*([a-z]+)\s*\)", re.IGNORECASE)
_AT = re.compile(
    r"(?P<key>[A-Za-z][\w @-]{0,60}?)\s*(?:\([^()]*\)\s*)?\b(?:at|after|for|in|@)\s+"
    rf"(?P<unit>{STEP_WORD})\s*(?P<n>\d+)\s*(?:[:=]|is|was)\s*(?P<value>{NUMBER})\W*",
    re.IGNORECASE,
)
_HAS_AT = re.compile(r"\b(?:at|after|for|in)\b|@")


def without_prefix(text: str) -> str:
    """The line without time, level and marks, and without notes: `(7.01)`, `(0.2 sec)`, `(best 0.4)`."""
    has_level = _HAS_LEVEL.search(text)
    for pattern in (_MARKS, _RANK, _PREFIX if has_level else _SHORT_PREFIX, _MARKS):
        if match := pattern.match(text):
            text = text[match.end() :]
    text = _NAMED_STEP.sub(r"\2 \1", text) if "(" in text else text
    if at := _HAS_AT.search(text) and _AT.fullmatch(text):
        return "%s %s %s: %s" % (at["unit"], at["n"], at["key"], at["value"])
    text = _OUT_OF.sub("of ", text) if "out of" in text else text
    return _NOTE.sub(_note, text) if "(" in text else text


def _note(match: re.Match[str]) -> str:
    """Nothing for a note, its content for a metric: `Train loss: 0.5 (Acc: 85%)`."""
    inside = match[1]
    name = re.match(r"[A-Za-z][\w@ -]*(?=\s*[:=])", inside)
    if name and is_metric(name[0]):
        return " %s " % inside
    is_note = any(letter.isdigit() for letter in inside) and len(re.findall(r"[A-Za-z]{2,}", inside)) <= 2
    is_place = STEP.search(inside) and not inside.strip()[:1].isdigit()
    return " " if is_note and not is_place else match[0]
