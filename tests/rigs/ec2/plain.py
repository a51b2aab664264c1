"""A machine in 0.1 s: namespaces and a real sshd, without systemd and without cloud-init.

It implements the parts of #cloud-config that gpujob's user-data uses: keys, bootcmd, write_files, runcmd.
What needs systemd (the watchdog) does not run here: see booted.py.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import yaml

from tests.rigs import needs
from tests.rigs.ec2.machine import Machine
from tests.rigs.hostfiles import sftp_server

KEYS = "/etc/ssh/ssh_host_ed25519_key"
DEVICES = "null zero full random urandom tty"
INIT = """
set -e
mount -t proc proc {root}/proc
mount --rbind /sys {root}/sys
mount -t tmpfs -o mode=755 tmpfs {root}/dev
for name in {devices}; do touch {root}/dev/$name; mount --bind /dev/$name {root}/dev/$name; done
mkdir {root}/dev/pts {root}/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts {root}/dev/pts
ln -s pts/ptmx {root}/dev/ptmx
ln -s /proc/self/fd {root}/dev/fd
ln -s fd/0 {root}/dev/stdin; ln -s fd/1 {root}/dev/stdout; ln -s fd/2 {root}/dev/stderr
mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm
mount -t tmpfs -o mode=1777 tmpfs {root}/tmp
for folder in {visible}; do mkdir -p {root}$folder; mount --bind -o ro $folder {root}$folder; done
mount -t tmpfs -o mode=755 tmpfs {root}/run
cat /proc/sys/kernel/random/uuid > {root}/run/boot_id
mount --bind {root}/run/boot_id {root}/proc/sys/kernel/random/boot_id
mkdir {root}/run/sshd {root}/run/lock
hostname {name}
exec chroot {root} /bin/sh /var/lib/rig/boot
"""


class PlainMachine(Machine):
    kind = "plain"

    def prepare(self, first: bool) -> None:
        config = self._cloud_config()
        if first:
            self._add_user()
            self._write_keys(config)
            for item in config.get("write_files") or []:
                self.write(item["path"], item.get("content", ""), int(str(item.get("permissions", "644")), 8))
        self.write("/etc/ssh/sshd_config", self._sshd_config())
        self.write("/var/lib/rig/boot", self._boot(config, first))

    def words(self) -> list[str]:
        script = INIT.format(
            root=shlex.quote(str(self.root)),
            devices=DEVICES,
            visible=" ".join(shlex.quote(str(folder)) for folder in self.birth.visible),
            name=self.name,
        )
        spaces = [
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child=KILL",
            "--propagation",
            "private",
        ]
        return ["unshare", *spaces, "sh", "-c", script]

    def reboot(self) -> None:
        """Without a system that could be asked, the power is cut and comes back."""
        self.stop()
        self.start(self.ip, self.user_data)

    def _cloud_config(self) -> dict[str, Any]:
        if self.user_data.startswith(b"#cloud-config"):
            return yaml.safe_load(self.user_data) or {}
        return {"runcmd": [self.user_data.decode()]} if self.user_data else {}

    def _add_user(self) -> None:
        user, home = self.birth.user, self.root / "home" / self.birth.user
        taken = {int(line.split(":")[2]) for line in self._lines("passwd")}
        number = next(uid for uid in range(1000, 60000) if uid not in taken)
        for name, line in (
            ("passwd", f"{user}:x:{number}:{number}::/home/{user}:/bin/bash"),
            ("group", f"{user}:x:{number}:"),
            ("shadow", f"{user}:*:19000:0:99999:7:::"),
        ):
            path = self.root / "etc" / name
            path.write_text("\n".join([*self._lines(name), line, ""]))
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        for folder in (home, home / ".ssh"):
            os.chown(folder, number, number)
        self.write("/etc/sudoers.d/90-rig", f"{user} ALL=(ALL) NOPASSWD:ALL\n", 0o440)

    def _lines(self, name: str) -> list[str]:
        lines = (self.root / "etc" / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith(self.birth.user + ":")]

    def _write_keys(self, config: dict[str, Any]) -> None:
        keys = [self.birth.public_key] if self.birth.public_key else []
        keys += config.get("ssh_authorized_keys") or []
        for user in config.get("users") or []:
            if isinstance(user, dict) and user.get("name") in (self.birth.user, None):
                keys += user.get("ssh_authorized_keys") or []
        authorized = f"/home/{self.birth.user}/.ssh/authorized_keys"
        self.write(authorized, "\n".join([*keys, ""]), 0o600)
        home = (self.root / "home" / self.birth.user).stat()
        os.chown(self.root / authorized[1:], home.st_uid, home.st_gid)
        for old in Path(self.root, "etc/ssh").glob("ssh_host_*"):
            old.unlink()
        host_keys = config.get("ssh_keys") or {}
        if "ed25519_private" in host_keys:
            self.write(KEYS, host_keys["ed25519_private"], 0o600)
            self.write(KEYS + ".pub", host_keys.get("ed25519_public", ""))

    def _sshd_config(self) -> str:
        return "\n".join(
            [
                "Include /etc/ssh/sshd_config.d/*.conf",
                f"ListenAddress {self.ip}:22",
                "UsePAM no",
                "UseDNS no",
                "PasswordAuthentication no",
                "PermitRootLogin no",
                f"Subsystem sftp {sftp_server()}",
                "AcceptEnv LANG LC_*",
                f"SetEnv AWS_EC2_METADATA_SERVICE_ENDPOINT={self.birth.metadata_url}",
                "",
            ]
        )

    def _boot(self, config: dict[str, Any], first: bool) -> str:
        """Return shell commands that start what cloud-init and systemd would start, in their order."""
        sshd = needs.tool("sshd")
        run = config.get("runcmd") or [] if first else []
        return "\n".join(
            [
                f"export AWS_EC2_METADATA_SERVICE_ENDPOINT={self.birth.metadata_url}",
                "exec >>/var/log/cloud-init-output.log 2>&1",
                *(f"({_line(command)})" for command in config.get("bootcmd") or []),
                # Not at the first boot alone, during which the power may have been cut.
                f"[ -s {KEYS} ] || echo y | ssh-keygen -q -t ed25519 -N '' -f {KEYS}",
                f"{sshd} -D -e & server=$!",
                *([] if first else ["for script in /var/lib/cloud/scripts/per-boot/*; do $script; done"]),
                *(f"({_line(command)})" for command in run),
                "while :; do wait $server; kill -0 $server 2>/dev/null || exit; done",
                "",
            ]
        )


def _line(command: str | list[Any]) -> str:
    return f"\n{command}\n" if isinstance(command, str) else shlex.join(map(str, command))
