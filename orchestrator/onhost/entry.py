"""Starts the helper; it is sent as `__main__.py`.

A Python that is too old for the rest reads this file too, so it uses the syntax of Python 3.5.
"""

import os
import sys

from orchestrator.onhost.interpreters import ANNOUNCE, MARK, OLDEST, OPTIONS, find_newer


def start(bundle, words):
    # type: (str, list[str]) -> int
    """Runs the helper, with another Python if this one is too old; `old VERSION PATH` if there is none."""
    if sys.version_info[:2] < OLDEST:
        python = find_newer()
        if python:
            os.execvp(python, [python, *OPTIONS, bundle, *words])
        found = "old %s %s\n" % (sys.version.split()[0], sys.executable)
        os.write(1, MARK + found.encode("ascii", "replace"))
        return 91
    if words[0] == ANNOUNCE:
        words = words[1:]
        os.write(1, MARK + b"ready " + os.fsencode(words[1]) + b"\n")
    from orchestrator.onhost.modes import main  # noqa: PLC0415 - a Python that is too old cannot

    return main(words)


if __name__ == "__main__":
    sys.exit(start(sys.argv[0], sys.argv[1:]))
