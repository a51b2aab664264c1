"""Words for tmux (2.6 to 3.7) and parsers of its answers. Runs nothing. Also on hosts: Python 3.8."""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple, Sequence

OLDEST = (2, 6)
CONF = """\
set -g history-limit 20000
set -g default-terminal screen-256color
set -g status-right " C-b d leaves the run going "
set -g status on
set -g destroy-unattached off
set -g exit-unattached off
setw -g remain-on-exit off
set -g prefix C-b
bind C-b send-prefix
bind d detach-client
"""
"""Defaults too: before tmux 3.2, /etc/tmux.conf is read first, whatever file is named."""
DETACH = "C-b d"
DETACH_NESTED = "C-b C-b d"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")
_LIST = "#{session_name}\t#{session_created}\t#{session_attached}\t#{pane_pid}"


class Session(NamedTuple):
    """One line of the listing; `created` in seconds since 1970, `attached` counts clients."""

    name: str
    created: int
    attached: int
    pane_pid: int


def session_name(run_id: str) -> str:
    """The session of a run. tmux rewrites `.` and `:` in names, so such a run-id is a ValueError."""
    if not _NAME.match(run_id):
        raise ValueError("no name for a tmux session: %r" % run_id)
    return "gpujob-" + run_id


def server(socket: str, conf: str | None = None) -> list[str]:
    """The words that name our server. `-u`: without it a host with no UTF-8 locale garbles listings."""
    return ["tmux", "-u", "-S", socket] + (["-f", conf] if conf else [])


def new(at: Sequence[str], name: str, folder: str, command: Sequence[str]) -> list[str]:
    """A detached session running `command`; atomic: of several at once, one succeeds.

    tmux starts several words without a shell, whose start-up files could do anything. It ends a command of
    its own at a word that ends in `;`.
    """
    size = ["-x", "200", "-y", "50"]
    words = [*size, "-c", folder, *command]
    words = [word[:-1] + "\\;" if word.endswith(";") else word for word in words]
    return [*at, "new-session", "-d", "-s", name, *words]


def kill(at: Sequence[str], name: str) -> list[str]:
    return [*at, "kill-session", "-t", "=" + name]


def attach(at: Sequence[str], name: str, keys: str = DETACH) -> list[str]:
    """Read-only: keys reach tmux alone, so none can hurt the run. The status line shows `keys`."""
    note = ["set-option", "-t", "=" + name + ":", "status-right", " %s leaves the run going " % keys]
    return [*at, *note, ";", "attach-session", "-r", "-t", "=" + name]


def detach_keys(env: Mapping[str, str], prefix: str) -> str:
    """The keys that leave a session: in a tmux of the user's own with the same `prefix`, it comes twice."""
    return DETACH_NESTED if env.get("TMUX") and prefix in ("", "C-b") else DETACH


def listing(at: Sequence[str]) -> list[str]:
    return [*at, "list-panes", "-a", "-F", _LIST]


def parse_listing(text: str) -> list[Session]:
    """Sessions of `listing`; lines that are none (a message of tmux) are skipped."""
    sessions = []
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 4 and all(part.isdigit() for part in parts[1:]):
            sessions.append(Session(parts[0], int(parts[1]), int(parts[2]), int(parts[3])))
    return sessions


def is_usable(version: str) -> bool:
    """Returns whether this tmux, as `tmux -V` names it, is new enough. One that was built from the sources of
    the day has no number (`tmux master`)."""
    number = parse_version(version)
    return number is None or number >= OLDEST


def parse_version(text: str) -> tuple[int, int] | None:
    """`tmux 3.3a` → (3, 3); `tmux next-3.6` → (3, 6); None where no number stands."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else None
