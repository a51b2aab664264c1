"""Names that came from elsewhere: may they stand below a folder of ours?"""

from __future__ import annotations

import posixpath


def inside(name: str) -> bool:
    """Whether a relative name stays below the folder it is joined to: no `..`, no root, no NUL, not empty."""
    if not name or name.startswith("/") or "\0" in name or "\\" in name:
        return False
    parts = name.split("/")
    return ".." not in parts and posixpath.normpath(name) not in (".", "")
