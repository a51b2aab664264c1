"""A machine in 1.5 s: real systemd as PID 1 and the real cloud-init, in systemd-nspawn.

Its image is this machine's own root, so nothing is built and its Python and torch are there.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import yaml

from tests.rigs import needs
from tests.rigs.ec2 import cgroups, cloudinit
from tests.rigs.ec2.machine import Machine

ENTER_GROUPS = 'until [ "$1" = -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'
SEED = "/var/lib/cloud/seed/nocloud"
MASKED = (
    "networking.service",
    "nftables.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "console-getty.service",
    "getty.target",
    "ssh.socket",
)
GENERATORS = ("system-generators", "user-environment-generators")
SYSTEM_KEYS = ("disable_root", "system_info", "users")  # of cloud-init's settings


class BootedMachine(Machine):
    kind = "booted"

    def prepare(self, first: bool) -> None:
        if first:
            self._only_what_a_box_starts()
            (self.root / "etc/cloud/cloud-init.disabled").unlink(missing_ok=True)
            # Without what the rig's settings replace: each stage parses them in Python.
            image = yaml.load((self.root / "etc/cloud/cloud.cfg").read_bytes(), yaml.CSafeLoader)
            kept = {key: image[key] for key in SYSTEM_KEYS if key in image}
            self.write("/etc/cloud/cloud.cfg", yaml.safe_dump(kept))
            self.write("/etc/cloud/cloud.cfg.d/95_rig.cfg", yaml.safe_dump(self._cloud_settings()))
            self.write("/usr/bin/cloud-init", cloudinit.program(), 0o755)
            # Without a machine ID, the first boot would enable every installed service.
            self.write("/etc/machine-id", uuid.uuid4().hex + "\n")
        # As on EC2, user-data that was changed while the instance was stopped is read again.
        for pickle in self.root.glob("var/lib/cloud/instances/*/obj.pkl"):
            pickle.unlink()
        self.write(f"{SEED}/user-data", self.user_data or b"#cloud-config\n{}\n")
        self.write(f"{SEED}/meta-data", json.dumps(self._metadata()))
        endpoint = f"AWS_EC2_METADATA_SERVICE_ENDPOINT={self.birth.metadata_url}"
        self.write("/etc/systemd/system.conf.d/rig.conf", f"[Manager]\nDefaultEnvironment={endpoint}\n")
        # A trainer that uses every core would slow down the other machines.
        extra = f"ListenAddress {self.ip}\nUseDNS no\nSetEnv {endpoint} OMP_NUM_THREADS=1\n"
        self.write("/etc/ssh/sshd_config.d/10-rig.conf", extra)

    def words(self) -> list[str]:
        return [
            *("sh", "-ec", ENTER_GROUPS, "sh", *map(str, cgroups.make(*self._group)), "--"),
            str(needs.tool("systemd-nspawn")),
            "--quiet",
            f"--directory={self.root}",
            f"--machine={self.birth.id}",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            *(f"--bind-ro={folder}" for folder in self.birth.visible),
        ]

    def reboot(self) -> None:
        self.run(["systemctl", "--no-block", "reboot"])

    def destroy(self) -> None:
        super().destroy()
        cgroups.remove(*self._group)

    @property
    def _group(self) -> tuple[str, str]:
        return cgroups.of_slot(self.birth.folder.parent.name), self.birth.id

    def _only_what_a_box_starts(self) -> None:
        """Disable services of this machine, whose network is shared, so that none starts twice, and the
        programs that generate units and environments for what no instance has, at every boot and reload."""
        system = self.root / "etc/systemd/system"
        for link in system.glob("*.wants/*"):
            if link.parent.name != "cloud-init.target.wants":
                link.unlink()
        for unit in MASKED:
            _link(system / unit, "/dev/null")
        for kind in GENERATORS:
            for program in (self.root / "lib/systemd" / kind).glob("*"):
                if program.name != "cloud-init-generator":
                    _link(self.root / "etc/systemd" / kind / program.name, "/dev/null")
        _link(system / "multi-user.target.wants/ssh.service", "/lib/systemd/system/ssh.service")

    def _metadata(self) -> dict[str, Any]:
        key = {"public-keys": [self.birth.public_key]} if self.birth.public_key else {}
        return {"instance-id": self.birth.id, "local-hostname": self.name, **key}

    def _cloud_settings(self) -> dict[str, Any]:
        """Configure only those cloud-init modules that gpujob's user-data and the login need."""
        sudo = ["ALL=(ALL) NOPASSWD:ALL"]
        user = {"name": self.birth.user, "lock_passwd": True, "shell": "/bin/bash", "sudo": sudo}
        return {
            "network": {"config": "disabled"},
            "datasource_list": ["NoCloud"],
            "system_info": {"default_user": user},
            "cloud_init_modules": ["bootcmd", "write-files", "set_hostname", "users-groups", "ssh"],
            "cloud_config_modules": ["runcmd"],
            "cloud_final_modules": ["scripts-per-boot", "scripts-user", "final-message"],
        }


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
