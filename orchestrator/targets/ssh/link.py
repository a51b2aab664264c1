"""The control connection to a host, and what carries it: fabric, or OpenSSH. Chosen before authentication.

fabric (paramiko) is used where one plain key is all that the configuration offers, so that it makes no more
attempts to log in than `ssh` would. Everything else is left to OpenSSH.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator import files, process
from orchestrator.context import Context
from orchestrator.targets.pipes import Pipe
from orchestrator.targets.ssh.address import Resolved

if TYPE_CHECKING:
    from orchestrator.targets.ssh.openssh import OpenSSH
    from orchestrator.targets.ssh.paramiko_link import ParamikoLink

_LONGEST_REASON = 200
_PLAIN_PEM = (b"BEGIN RSA PRIVATE KEY", b"BEGIN EC PRIVATE KEY")


class NeedsOpenSSH(Exception):
    """fabric cannot log in to this host, or not well enough; OpenSSH may.

    `is_lasting`: the next command for this host should begin with OpenSSH.
    """

    def __init__(self, reason: str, is_lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_lasting = is_lasting


class Link:
    """Starts commands on fabric's connection until that turns out to be insufficient; then on OpenSSH's."""

    def __init__(self, ctx: Context, resolved: Resolved, openssh: OpenSSH) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._openssh = openssh
        self._fabric: ParamikoLink | None = None
        self._reason: str | None = None  # None until it was chosen; empty: fabric

    @property
    def reason_for_openssh(self) -> str:
        """Why OpenSSH is used; empty: fabric is."""
        if self._reason is None:
            if self._openssh.uses_users_master:
                self._reason = "your own ssh connection to it is open"
            else:
                self._reason = reason_for_openssh(self._ctx, self._resolved)
        return self._reason

    def open(self, command: str) -> Pipe:
        if self.reason_for_openssh:
            return self._openssh.open(command)
        fabric = self._connection()
        try:
            return fabric.open(command)
        except NeedsOpenSSH as error:
            fabric.close()
            pipe = self._openssh.open(command)  # if this fails too, its error is the one to report
            self._reason = error.reason
            if error.is_lasting:
                remember(self._ctx, self._resolved, error.reason)
            return pipe

    def answers(self) -> bool:
        """Returns whether the host still answers. ServerAliveInterval ends a connection of OpenSSH if not."""
        return bool(self.reason_for_openssh) or self._connection().answers()

    def drop(self) -> None:
        self._openssh.drop()
        if self._fabric:
            self._fabric.drop()

    def close(self) -> None:
        self._openssh.close()
        if self._fabric:
            self._fabric.close()

    def _connection(self) -> ParamikoLink:
        if self._fabric is None:
            from orchestrator.targets.ssh.paramiko_link import ParamikoLink  # noqa: PLC0415 - 170 ms

            self._fabric = ParamikoLink(self._ctx, self._resolved)
        return self._fabric


def reason_for_openssh(ctx: Context, resolved: Resolved) -> str:
    """Returns why OpenSSH carries the control connection; empty if fabric can."""
    if resolved.unsupported:
        return f"ssh_config sets {', '.join(resolved.unsupported)}"
    return reason_in_keys(resolved) or _reason_in_agent(ctx, resolved) or recall(ctx, resolved)


def reason_in_keys(resolved: Resolved) -> str:
    """Returns what about the identity files needs OpenSSH."""
    tokens = [path for path in resolved.identities if "%" in path or "${" in path or path.startswith("~")]
    if tokens:
        return f"IdentityFile {tokens[0]} has a token"
    usable = usable_identities(resolved)
    if len(usable) != 1:
        return "several keys may be tried" if usable else "no key file exists"
    return reason_in_key(usable[0])


def usable_identities(resolved: Resolved) -> list[Path]:
    """Returns the identity files that exist; OpenSSH skips the others too."""
    return [Path(path) for path in resolved.identities if Path(path).is_file()]


def reason_in_key(path: Path) -> str:
    """Returns why paramiko cannot use a key file: a passphrase, a hardware key, a certificate, PKCS#8, ..."""
    if Path(f"{path}-cert.pub").exists():
        return f"{path} has a certificate"
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if b"ENCRYPTED" in content:
        return f"{path} has a passphrase"
    is_pem = any(mark in content for mark in _PLAIN_PEM)
    reason = "" if is_pem else _reason_in_openssh_key(path, content)
    return reason or (f"{path} can be read by others" if mode & 0o077 else "")


def _reason_in_openssh_key(path: Path, content: bytes) -> str:
    """An OpenSSH key names its cipher in a clear header, then its type in the public half."""
    lines = content.split()
    if b"OPENSSH" not in lines or len(lines) < 8:
        return f"{path} is no plain private key"
    try:
        head = base64.b64decode(b"".join(lines[4:-4])[:400])
    except binascii.Error:
        return f"{path} is no plain private key"
    if head[15:23] != b"\0\0\0\4none":
        return f"{path} has a passphrase"
    kind = head[47 : 47 + int.from_bytes(head[43:47], "big")]
    plain = kind in (b"ssh-ed25519", b"ssh-rsa") or kind.startswith(b"ecdsa-sha2-nistp")
    return "" if plain else f"{path} is a key that only OpenSSH supports"


def _reason_in_agent(ctx: Context, resolved: Resolved) -> str:
    """`ssh-add -l` exits 0 only if the agent has a key."""
    if not resolved.agent:
        return ""
    try:
        done = process.capture(["ssh-add", "-l"], env={**ctx.env, "SSH_AUTH_SOCK": resolved.agent})
    except OSError:
        return "the ssh agent may have keys"
    return "" if done.code else "the ssh agent has keys"


def recall(ctx: Context, resolved: Resolved) -> str:
    """Returns why an earlier command had to use OpenSSH for this host; empty if none had."""
    record = files.load_json(_file(ctx, resolved)) or {}
    reason = record.get("reason")
    if not isinstance(reason, str) or not reason.isprintable():
        return ""
    return reason[:_LONGEST_REASON]


def remember(ctx: Context, resolved: Resolved, reason: str) -> None:
    """Records that this host needs OpenSSH, unless the cache cannot be written."""
    with contextlib.suppress(OSError):
        files.write_json(_file(ctx, resolved), {"reason": reason})


def _file(ctx: Context, resolved: Resolved) -> Path:
    name = f"{resolved.user}@{resolved.hostname}:{resolved.port} {resolved.key_name}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return ctx.state_dir / "transports" / f"{digest}.json"
