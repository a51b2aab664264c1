"""Every path on the host, in this one place (docs/contract.md). Also runs on hosts: Python 3.8."""

from __future__ import annotations

import posixpath
import re

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}-\d{8}T\d{6}-[0-9a-f]{4}\Z")
# sun_path holds 108 bytes; tmux needs a few for itself.
LONGEST_SOCKET = 100


class Layout:
    """Paths below one root. Pure: nothing is looked at or made.

    `machine`: a word that names the tmux socket, if other machines use the same root.
    """

    def __init__(self, root: str, uid: int = 0, machine: str = "") -> None:
        self.root = root
        self.runs = posixpath.join(root, "runs")
        self.code = posixpath.join(root, "code")
        self.onhost = posixpath.join(root, "onhost")
        self.data = posixpath.join(root, "data")
        self.cache = posixpath.join(root, "cache")
        self.tmux_conf = posixpath.join(root, "tmux.conf")
        self.transfer = posixpath.join(root, "transfer")
        self.start_lock = posixpath.join(root, "start.lock")
        self.queue = posixpath.join(root, "queue")
        self.tmux_socket = _socket(root, uid, machine)

    def run(self, run_id: str) -> RunPaths:
        """The paths of one run. An id that is none is a ValueError: it may not name a path."""
        if not RUN_ID.match(run_id):
            raise ValueError("not a run-id: %r" % run_id)
        return RunPaths(posixpath.join(self.runs, run_id))

    def environment(self, key: str) -> str:
        """A Python environment; its key is of our own making."""
        if not re.match(r"[0-9a-f]+\Z", key):
            raise ValueError("not a key: %r" % key)
        return posixpath.join(self.root, "env", key)

    def environment_log(self, key: str) -> str:
        """What was printed while it was created."""
        return self.environment(key) + ".log"

    def tree(self, tree_hash: str) -> str:
        return posixpath.join(self.code, tree_hash)


class RunPaths:
    """The files of one run folder."""

    def __init__(self, folder: str) -> None:
        self.folder, base = folder, folder + "/"
        self.run_json = base + "run.json"
        self.log = base + "log"
        self.log_index = base + "log.index"
        self.events = base + "events.jsonl"
        self.state = base + "state.json"
        self.stop = base + "stop.json"
        self.secrets = base + "secrets.json"
        self.alerts = base + "alerts.json"
        self.alerts_lock = base + "alerts.lock"
        self.mirror = base + "mirror.json"
        self.mirror_lock = base + "mirror.lock"
        self.fetched = base + "fetched.json"
        self.lock = base + "start.lock"
        self.lease = base + "lease.json"
        self.reserved = base + "reserved-space"
        self.reserved_v1 = base + "ballast"  # its name in runs of version 0.1.0
        self.alive = base + "alive.lock"
        self.work = base + "work"
        self.checkpoints = base + "checkpoints"
        self.stage = base + ".fetch"


def scratch(mark: str) -> str:
    """The run's TMPDIR: short, since sockets are made in it."""
    return "/tmp/gpujob-" + mark[:16]


def _socket(root: str, uid: int, machine: str) -> str:
    plain = posixpath.join(root, "tmux-%s.sock" % machine if machine else "tmux.sock")
    if len(plain.encode()) <= LONGEST_SOCKET:
        return plain
    import hashlib  # noqa: PLC0415 - 3 ms that few roots need

    digest = hashlib.sha256((root + machine).encode()).hexdigest()[:12]
    return "/tmp/gpujob-%d-%s/tmux.sock" % (uid, digest)
