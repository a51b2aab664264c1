"""SSH keys of instances: the key to log in with, the first host key, and the host key that replaces it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.errors import GpujobError

_HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
_MAKE_SCRIPT = f"""
next={_HOST_KEY}.next
[ -s $next.pub ] || {{ rm -f $next; ssh-keygen -q -t ed25519 -N "" -C "" -f $next; }}
cat $next.pub
"""
_SWITCH_SCRIPT = f"""
if [ -s {_HOST_KEY}.next ]; then mv -f {_HOST_KEY}.next {_HOST_KEY}; fi
if [ -s {_HOST_KEY}.next.pub ]; then mv -f {_HOST_KEY}.next.pub {_HOST_KEY}.pub; fi
systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || kill -HUP "$(cat /run/sshd.pid)"
at=$(sshd -T 2>/dev/null | sed -n 's/^listenaddress \\([0-9.]*\\):.*/\\1/p' | head -n 1)
key=$(cut -d ' ' -f 2 {_HOST_KEY}.pub)
for _ in $(seq 50); do
  ssh-keyscan -T 2 -t ed25519 "${{at:-127.0.0.1}}" 2>/dev/null | grep -qF "$key" && exit
  sleep 0.1
done
echo "sshd does not offer its new key" >&2
exit 1
"""
_AS_ROOT = ["sudo", "-n", "sh", "-ec"]
MAKE_NEXT = [*_AS_ROOT, _MAKE_SCRIPT]
"""Command that prints the next public host key, `ssh-ed25519 BASE64`, creating it if there is none."""
SWITCH_TO_NEXT = [*_AS_ROOT, _SWITCH_SCRIPT]
"""Command after which sshd uses the next host key and the previous one is deleted.

sshd uses only one key of a type, so meanwhile the client accepts both.
"""


class KeyPair(msgspec.Struct, frozen=True):
    """An ed25519 key pair in OpenSSH's format; `public` has no comment."""

    private: str
    public: str


def user_key(ctx: Context) -> Path:
    """Returns the path of the private key that instances accept (mode 0600), which is created once.

    The public key is next to it.
    """
    path = ctx.config_file.with_name("ec2_ed25519")
    if not path.exists():
        with files.lock(path.with_suffix(".lock")):
            if not path.exists():
                _create(path)
    return path


def _create(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        private = Path(folder) / path.name
        _generate(private, "gpujob")
        for file in (
            private.with_name(private.name + ".pub"),
            private,
        ):  # last the one that user_key looks for
            file.replace(path.with_name(file.name))


def public_key(ctx: Context) -> str:
    path = user_key(ctx)
    return path.with_name(path.name + ".pub").read_text("utf-8").strip()


def new_host_key() -> KeyPair:
    """Returns the first host key of a new instance, replaced later, since others may read the user-data."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "host"
        _generate(path, "")
        private = path.read_text("utf-8")
        kind, blob = path.with_name("host.pub").read_text("utf-8").split()[:2]
    return KeyPair(private, f"{kind} {blob}")


def _generate(path: Path, comment: str) -> None:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        done = process.capture(words)
    except FileNotFoundError:
        raise GpujobError("ssh-keygen is not installed", "", "install openssh-client") from None
    if done.code:
        raise GpujobError("ssh-keygen could not create a key", done.reason)
