"""Keys: the user's own for logging in, and a throw-away host key that a new box is known by at once."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator import lock
from orchestrator.context import Context
from orchestrator.errors import GpujobError


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key as OpenSSH writes it; `public` without a comment."""

    private: str
    public: str


def user_key(ctx: Context) -> Path:
    """The private key that boxes accept (0600), made once, however many ask; its public part is beside it."""
    path = ctx.config_file.with_name("ec2_ed25519")
    if not path.exists():
        with lock.held(path.with_suffix(".lock")):
            if not path.exists():
                _make(path)
    return path


def _make(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        _generate(made, "gpujob")
        for name in (made.with_name(made.name + ".pub"), made):  # the private one says that both are there
            name.replace(path.with_name(name.name))


def public_key(ctx: Context) -> str:
    path = user_key(ctx)
    return path.with_name(path.name + ".pub").read_text("utf-8").strip()


def host_key() -> KeyPair:
    """For one box and its first log-in only: it stands in user-data, so it is replaced there at once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "host"
        _generate(path, "")
        private = path.read_text("utf-8")
        kind, blob = path.with_name("host.pub").read_text("utf-8").split()[:2]
    return KeyPair(private, f"{kind} {blob}")


def _generate(path: Path, comment: str) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except FileNotFoundError:
        raise GpujobError("ssh-keygen is not installed here", "", "install openssh-client") from None
