"""The lines of shell that start the helper on a host, and send it there."""

from __future__ import annotations

import io
import re
import tarfile

from orchestrator.onhost.interpreters import ANNOUNCE, NEWER, OPTIONS
from orchestrator.targets import helper_host
from orchestrator.targets.ssh import startup

_WORD = re.compile(r"[A-Za-z0-9._-]+\Z")
_ROOT = 'r="${GPUJOB_ROOT:-$HOME/.gpujob}"; '
# Two backslashes: where the host shows the line instead of running it, as `echo` does, no mark appears.
_PRINT = r'printf "\\036gpujob %s %s\n" '
_REACHED = rf'printf "\\036gpujob {startup.SHELL}\n"; '
_IS_FOUND = 'command -v "$y" >/dev/null'
_RUNS = '"$y" -I -c "" </dev/null >/dev/null 2>&1'


def command(mode: str, *words: str, try_pythons: bool = False) -> str:
    """Returns the line that starts the helper with the first Python; one that is too old finds another.

    `try_pythons`: with the first that runs. What is called python3 may be a shim of a version manager, or
    miss a library; to try it takes as long as its start.

    It prints `shell` at once, and then `ready ROOT`, `missing ROOT` (no helper is there), `python` (no
    Python) or `old VERSION PATH`.
    """
    for word in (mode, *words):
        if not _WORD.match(word):
            raise ValueError(f"not a plain word: {word!r}")
    options, rest = " ".join(OPTIONS), " ".join(words)
    return (
        f'exec /bin/sh -c \'{_REACHED}{_ROOT}p="$r/onhost/{helper_host.digest()}"; '
        f'{_choose(try_pythons)}case "$y" in -) {_PRINT} python ""; exit 91;; esac; '
        f'[ -f "$p/__main__.py" ] || {{ {_PRINT} missing "$r"; exit 90; }}; '
        f'exec "$y" {options} "$p" {ANNOUNCE} {mode} "$r" {rest}\''
    )


def _choose(try_pythons: bool) -> str:
    """Returns the lines that set `y` to a Python, or to `-` if there is none."""
    test = _RUNS if try_pythons else _IS_FOUND
    return f"for y in python3 {' '.join(NEWER)} -; do {test} && break; done; "


def execute(run_id: str, encoded: str, try_pythons: bool = False) -> str:
    """Returns the line that runs a command of the user (onhost/visit.py); stdin and stdout are the command's.

    The helper has to be on the host.
    """
    for word in (run_id, encoded):
        if not _WORD.match(word):
            raise ValueError(f"not a plain word: {word!r}")
    options = " ".join(OPTIONS)
    return (
        f'exec /bin/sh -c \'{_ROOT}p="$r/onhost/{helper_host.digest()}"; '
        f'{_choose(try_pythons)}exec "$y" {options} "$p" exec "$r" {run_id} {encoded}\''
    )


def receive_bundle() -> str:
    """Returns the line that unpacks a gzipped tar on stdin into the helper's folder and prints `ready ROOT`.

    The folder appears only once it is complete. A partial folder is removed when the transfer is interrupted,
    or by the next transfer if the machine died. A folder without `__main__.py` is replaced: Python makes one
    for its cache if a volume is mounted over the root while a helper runs.
    """
    name = helper_host.digest()
    return (
        f'exec /bin/sh -c \'{_ROOT}p="$r/onhost/{name}"; d="$r/onhost/.{name}.$$"; '
        f'for o in "$r"/onhost/.[0-9a-f]*.[0-9]*; do kill -0 "${{o##*.}}" 2>/dev/null || rm -rf "$o"; done; '
        f'umask 077; mkdir -p "$d" && (cd "$d" && tar -xzf -) && '
        f'{{ mv -T "$d" "$p" 2>/dev/null || [ -f "$p/__main__.py" ] || '
        f'{{ mv -T "$p" "$d.0" && mv -T "$d" "$p"; }}; }} && rm -rf "$d" "$d.0" && {_PRINT} ready "$r" || '
        f'{{ rm -rf "$d" "$d.0"; exit {startup.NOT_UNPACKED}; }}\''
    )


def bundle_archive() -> bytes:
    """Returns the files of the helper as a gzipped tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in helper_host.files().items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
