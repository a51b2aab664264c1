"""Names that came from elsewhere: may they stand below a folder of ours?"""

from __future__ import annotations

import posixpath
import re

_LONGEST_NAME, _LONGEST_PATH = 255, 3000  # bytes; a path must fit below a folder
_LONGEST_STEP = 18  # digits
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def inside(name: str) -> bool:
    """Whether a relative name stays below the folder it is joined to, and can be a file's.

    Without `..`, root and NUL; not empty, nor longer than file systems allow, nor with lone surrogates.
    """
    if not name or name.startswith("/") or "\0" in name or not _fits(name):
        return False
    parts = name.split("/")
    return ".." not in parts and posixpath.normpath(name) not in (".", "")


def _fits(name: str) -> bool:
    try:
        parts = name.encode("utf-8", "surrogateescape").split(b"/")
    except UnicodeEncodeError:
        return False
    return max(map(len, parts)) <= _LONGEST_NAME and sum(map(len, parts)) <= _LONGEST_PATH


def is_step(name: str) -> bool:
    """Whether a name is a checkpoint's: a step in ASCII digits (`²` is a digit too, but no number)."""
    return name.isascii() and name.isdigit() and len(name) <= _LONGEST_STEP


def is_digest(text: str) -> bool:
    """Whether a text is a sha256 in hexadecimal, and so may name a part."""
    return bool(_SHA256.match(text))
