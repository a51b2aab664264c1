"""The few shell lines that a host ever gets: constant but for hashes and names of our own making.

Whatever a user typed travels as JSON on stdin. The lines are read by any login shell (sh, bash, zsh,
fish, csh); a marker tells our bytes from what a noisy start-up file prints.
"""

from __future__ import annotations

import io
import re
import tarfile

from orchestrator.targets import bundle

MARK = b"\x1egpujob "
_WORD = re.compile(r"[A-Za-z0-9._-]+\Z")
_ROOT = 'r="${GPUJOB_ROOT:-$HOME/.gpujob}"; '
_SAY = 'printf "\\036gpujob %s %s\\n" '


def command(verb: str, *words: str) -> str:
    """Starts the bundle; says `ready ROOT` first, or `missing`, or `python`."""
    for word in (verb, *words):
        if not _WORD.match(word):
            raise ValueError(f"no plain word: {word!r}")
    rest = " ".join(words)
    return (
        f'exec sh -c \'{_ROOT}p="$r/onhost/{bundle.digest()}"; '
        f'command -v python3 >/dev/null || {{ {_SAY} python "$r"; exit 91; }}; '
        f'[ -d "$p" ] || {{ {_SAY} missing "$r"; exit 90; }}; '
        f'{_SAY} ready "$r"; exec python3 -I "$p" {verb} "$r" {rest}\''
    )


def receive_bundle() -> str:
    """Takes a gzipped tar on stdin and lays it out whole; says `ready ROOT` when it is there.

    What one that was cut left is removed: by itself, or by the next where the machine died.
    """
    name = bundle.digest()
    return (
        f'exec sh -c \'{_ROOT}d="$r/onhost/.{name}.$$"; '
        f'for o in "$r"/onhost/.[0-9a-f]*.[0-9]*; do kill -0 "${{o##*.}}" 2>/dev/null || rm -rf "$o"; done; '
        f'mkdir -p "$d" && chmod 700 "$r" && tar -xzf - -C "$d" && '
        f'{{ mv -T "$d" "$r/onhost/{name}" 2>/dev/null || rm -rf "$d"; }} && {_SAY} ready "$r" || '
        f'{{ rm -rf "$d"; exit 92; }}\''
    )


def bundle_archive() -> bytes:
    """The bundle as a gzipped tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in bundle.files().items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
