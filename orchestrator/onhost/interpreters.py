"""Which Python runs the helper, and how it is started.

A Python that is too old for the rest reads this file too, so it uses the syntax of Python 3.5 and imports
nothing else of gpujob.
"""

import os
import subprocess
import sys

OLDEST = (3, 8)
PYTHONS = (
    "python3",
    "/opt/pytorch/bin/python3",
    "/opt/conda/bin/python3",
    "/opt/conda/envs/pytorch/bin/python3",
    "/usr/local/bin/python3",
    "/usr/bin/python3",
)
"""Where hosts have a Python, the most likely first."""
NEWER = (
    *("python3.%d" % minor for minor in range(14, 7, -1)),
    *PYTHONS[1:],
    "/usr/libexec/platform-python",
)
"""Where a host whose python3 is missing or too old may have another one."""
OPTIONS = ("-I", "-X", "utf8")
"""File names are bytes in UTF-8, whatever the locale of the host is."""
ANNOUNCE = "announce"
"""The first argument of a helper that is to print `ready ROOT` after the mark."""
MARK = b"\x1egpujob "
_IS_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (%d, %d))" % OLDEST


def helper_command(*words):
    # type: (str) -> list[str]
    """Returns the words that start this helper in the mode that the first word names."""
    bundle = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [sys.executable, *OPTIONS, bundle, *words]


def find_newer():
    # type: () -> str
    """Returns the first Python of this host that is new enough; empty if there is none."""
    for name in NEWER:
        try:
            if subprocess.call([name, "-I", "-c", _IS_NEW_ENOUGH], stderr=subprocess.DEVNULL) == 0:
                return name
        except OSError:
            continue
    return ""
