"""The names of hosts in the text of an OpenSSH configuration."""

from __future__ import annotations


def host_names(text: str) -> list[str]:
    """Returns the names of Host lines that have no pattern."""
    names: list[str] = []
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("=", " ").partition(" ")
        if keyword.lower() == "host":
            names += [name for name in rest.split() if not set("*?!") & set(name)]
    return names
