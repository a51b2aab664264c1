"""Files of a FakeHost: sshd's configuration, the login script, and the client's ssh_config."""

from __future__ import annotations

import functools
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.rigs.needs import sftp_server


def sshd_config(*, folder: Path, ip: str, port: int, extra: str) -> str:
    """Return sshd's configuration; `extra` is first, since sshd uses the first value of each keyword."""
    lines = [
        f"ListenAddress {ip}",
        f"Port {port}",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized_keys",
        f"ForceCommand {folder}/login",
        # SHLVL keeps the account's own bash from reading its .bashrc; small trainings share few cores.
        f"SetEnv HOME={folder}/home SHLVL=1 OMP_NUM_THREADS=1",
        f"Subsystem sftp {sftp_server()}",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "PermitUserRC no",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "LogLevel VERBOSE",
        *_by_version(_openssh_version()),
    ]
    return "\n".join([extra.strip("\n"), *lines, ""])


def _by_version(version: tuple[int, int]) -> list[str]:
    lines = []
    if version < (10, 0):  # the default exchange of 9.x takes 0.1 s more for each connection
        lines.append("KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org")
    if version >= (9, 8):  # refused logins of one test would delay those of the next
        lines.append("PerSourcePenalties no")
    return lines


@functools.cache
def _openssh_version() -> tuple[int, int]:
    output = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    match = re.search(r"OpenSSH_(\d+)\.(\d+)", output)
    if not match:
        raise RuntimeError(f"no OpenSSH version in: {output!r}")
    return int(match[1]), int(match[2])


def login_script(*, shell: str, locale: str, path: Sequence[str], mark: str) -> str:
    """Return a script that runs the client's command, or a login shell, with `shell` and sshd's HOME.

    SHLVL is unset, so that bash reads ~/.bashrc as it does for every command given over SSH.
    """
    variables = {"SHELL": shell, "PATH": ":".join(path)}
    return "\n".join(
        [
            "#!/bin/sh",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            f"export {shlex.quote(mark)}",
            f'export LANG="${{LANG:-{locale}}}"',
            "unset MAIL SHLVL OLDPWD",
            'cd "$HOME" || exit 97',
            f'[ -n "$SSH_ORIGINAL_COMMAND" ] && exec {shlex.quote(shell)} -c "$SSH_ORIGINAL_COMMAND"',
            f"exec {shlex.quote(shell)} -l",
            "",
        ]
    )


def private_tmp(tmp: Path, visible: Sequence[Path]) -> list[str]:
    """Return shell commands that mount `tmp` as /tmp and keep the `visible` folders below /tmp."""
    lines = ["set -e"]
    for folder in visible:
        if folder.is_relative_to("/tmp"):
            inside = shlex.quote(str(tmp / folder.relative_to("/tmp")))
            lines += [f"mkdir -p {inside}", f"mount --bind {shlex.quote(str(folder))} {inside}"]
    return [*lines, f"mount --rbind {shlex.quote(str(tmp))} /tmp"]


def user_config(alias: str, address: tuple[str, int], user: str, key: Path) -> str:
    lines = [f"HostName {address[0]}", f"Port {address[1]}", f"User {user}", f"IdentityFile {key}"]
    return "\n  ".join([f"Host {alias}", *lines]) + "\n"
