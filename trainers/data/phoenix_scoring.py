"""What the official evaluation of PHOENIX-2014 compares: cleaned references and cleaned hypotheses.

Standard library only. The rules are those of the corpus's `preprocess.sh` and `mergectmstm.py`. A reference
is a line of text, whose neighbours are joined and merged; a hypothesis is scored word by word.
Published results on 2014-T clean the hypotheses only: `poss-` and `HABEN2` in a reference are always errors.
"""

import re
from collections.abc import Sequence

EMPTY = "[EMPTY]"
"""The word that stands for an empty hypothesis; it counts as one word."""

_SIMPLER = (
    *((prefix, "") for prefix in ("loc-", "cl-", "qu-", "poss-", "lh-")),
    ("S0NNE", "SONNE"),
    ("HABEN2", "HABEN"),
    *((marker, "") for marker in ("__EMOTION__", "__PU__", "__LEFTHAND__", "__EPENTHESIS__")),
)
"""Texts and their replacements, in the order of the official script; __ON__ and __OFF__ are scored."""

_RAUM = re.compile(r"([A-Z][A-Z])RAUM")

_LETTER = "[A-Z]"
_PAIR = re.compile(rf"[ +]({_LETTER}) ({_LETTER}) ")
_NEIGHBOURS = tuple(
    re.compile(pattern)
    for pattern in (
        *[rf"([ +]{_LETTER}) ({_LETTER}[ +])"] * 3,
        rf"([ +]SCH) ({_LETTER}[ +])",
        rf"([ +]NN) ({_LETTER}[ +])",
        rf"([ +]{_LETTER}) (NN[ +])",
        rf"([ +]{_LETTER}) ({_LETTER})$",
    )
)
"""Spelled letters that become one word, in the order of the official script: each pass joins once."""

_TWICE = re.compile(r"(?<![\w-])([A-Z]+(?![\w-])) \1(?![\w-])", re.ASCII)
_PASSES = 4


def reference(annotation: str, protocol: str) -> list[str]:
    """The words that are scored of an annotation; its spaces matter, a removed marker leaves two."""
    if protocol == "14t":
        return annotation.split()
    text = f" {_simplified(annotation)}".replace("WIE AUSSEHEN", "WIE-AUSSEHEN")
    text = re.sub("ZEIGEN( |$)", r"ZEIGEN-BILDSCHIRM\1", text)
    text = _PAIR.sub(r" \1+\2 ", text)
    for pattern in _NEIGHBOURS:
        text = pattern.sub(r"\1+\2", text)
    text = _RAUM.sub(r"\1", text).replace("-PLUSPLUS", "")
    for _ in range(_PASSES):
        text = _TWICE.sub(r"\1", text)
    return text.split()


def hypothesis(glosses: Sequence[str]) -> list[str]:
    """The words that are scored of a hypothesis; [EMPTY] if none is left."""
    words = [_word(gloss) for gloss in glosses]
    return [word for word in words if word] or [EMPTY]


def _word(gloss: str) -> str:
    word = re.sub("ZEIGEN$", "ZEIGEN-BILDSCHIRM", _simplified(gloss))
    return _RAUM.sub(r"\1", word).replace("-PLUSPLUS", "")


def _simplified(text: str) -> str:
    for before, after in _SIMPLER:
        text = text.replace(before, after)
    return text
