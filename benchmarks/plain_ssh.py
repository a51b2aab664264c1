"""What people type without gpujob: plain ssh, scp and rsync."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

HOST = "gpu"


@dataclass
class PlainSsh:
    """ssh, scp and rsync with the same ssh_config; `shared` are the options for an open ControlMaster."""

    config: Path
    env: dict[str, str]
    shared: list[str] = field(default_factory=list)

    def ssh(self, command: str) -> None:
        self._run("ssh", "-F", str(self.config), *self.shared, HOST, command)

    def scp(self, folder: Path, to: str) -> None:
        self._run("scp", "-q", "-r", "-F", str(self.config), str(folder), f"{HOST}:{to}")

    def rsync(self, source: str, to: str) -> None:
        over = " ".join(["ssh", "-F", str(self.config), *self.shared])
        self._run("rsync", "-a", "-e", over, source, to)

    def share(self, socket: Path) -> None:
        """Opens a ControlMaster for the commands until `unshare`."""
        self.shared = ["-o", f"ControlPath={socket}"]
        self._run("ssh", "-F", str(self.config), *self.shared, "-o", "ControlMaster=yes", "-fN", HOST)

    def unshare(self) -> None:
        self._run("ssh", "-F", str(self.config), *self.shared, "-O", "exit", HOST)
        self.shared = []

    def deploy(self, code: Path) -> None:
        """The steps of a deploy, with one connection each."""
        self.ssh("mkdir -p ~/job/logs")
        self.scp(code, "job/")
        self.ssh("command -v python3")
        self.ssh("command -v tmux")
        self.ssh("tmux kill-session -t job 2>/dev/null || true")
        self.ssh("tmux new-session -d -s job")
        self.ssh(f"tmux send-keys -t job 'cd ~/job/{code.name}' Enter")
        self.ssh("nohup true > ~/job/logs/train.log 2>&1 < /dev/null &")
        self.ssh("tail -n 5 ~/job/logs/train.log")
        self.ssh("tmux ls")

    def _run(self, *words: str) -> None:
        env = {**os.environ, **self.env}
        subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=True)
