from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from orchestrator import files
from orchestrator.errors import UsageError
from orchestrator.instances import boot
from orchestrator.instances.boot import ANY_VOLUME, USER_DATA_LIMIT, UserData
from tests.rigs import needs

TEMPLATE = (files.folder("templates") / "cloud-init.yaml").read_text("utf-8")
PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
VALUES = UserData(
    user="ubuntu",
    authorized_key="ssh-ed25519 AAAAC3Nza me@laptop",
    host_private=PRIVATE,
    host_public="ssh-ed25519 AAAAC3Nzb",
    deadline=1_795_300_000,
    boot_grace=900,
    spot=True,
    data=ANY_VOLUME,
)
TEXT = VALUES.render(TEMPLATE)


def config() -> dict[str, Any]:
    return dict(yaml.safe_load(TEXT))


def files() -> dict[str, str]:
    """Return the files that the user-data writes, by name, and the boot script."""
    boot = config()["bootcmd"][0]
    documents = re.findall(r"cat >\S*?([\w.-]+) <<'(\w+)'\n(.*?)^\2$", boot, re.M | re.S)
    inner = re.findall(r"cat >\S*?([\w.-]+) <<'(END)'\n(.*?)^END$", documents[0][2], re.M | re.S)
    return {"bootcmd": boot, **{name: text for name, _, text in documents + inner}}


def test_keys_are_sent_unchanged() -> None:
    assert config()["ssh_keys"] == {"ed25519_private": PRIVATE, "ed25519_public": VALUES.host_public}
    assert config()["ssh_authorized_keys"] == [VALUES.authorized_key]
    assert config()["ssh_deletekeys"] is True
    assert config()["ssh_genkeytypes"] == ["ed25519"]


def test_no_placeholder_remains_and_no_comment_is_sent() -> None:
    assert re.findall(r"@[a-z_]+@", TEXT) == []
    assert [line for line in TEXT.splitlines() if re.match(r" *# ", line)] == []
    assert TEXT.startswith("#cloud-config\n")


def test_upgrades_are_masked_before_they_start_and_waited_for() -> None:
    first, *others = config()["bootcmd"]
    assert "gpujob-watchdog" in first  # the shutdown timer comes first, whatever the others do
    assert any("mask --now apt-daily.timer apt-daily-upgrade.timer" in command for command in others)
    install = next(command for command in config()["runcmd"] if "apt-get" in command)
    assert install.index("apt-daily-upgrade.service") < install.index("apt-get")
    assert "NEEDRESTART_SUSPEND=1" in install


@pytest.mark.parametrize("service", ["apt-daily.service", "apt-daily-upgrade.service"])
def test_a_driver_upgrade_that_is_under_way_is_waited_for(tmp_path: Path, service: str) -> None:
    """Its command is run by a real sh; systemctl says twice that the upgrade is going on."""
    install = next(command for command in config()["runcmd"] if "apt-get" in command)
    log = tmp_path / "log"
    asked = f'n=$(grep -c systemctl {log}); case "$*" in *{service}*) [ $n -gt 2 ] || echo activating ;; esac'
    programs = {"systemctl": asked, "sleep": "", "apt-get": "", "seq": "echo 1 2 3 4 5 6 7 8 9"}
    for name, body in programs.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >>{log}\n{body}\n')
        path.chmod(0o755)
    (tmp_path / "grep").symlink_to("/bin/grep")
    subprocess.run(["/bin/sh", "-ec", install], env={"PATH": str(tmp_path)}, timeout=60, check=True)
    calls = [line.split()[0] for line in log.read_text().splitlines()]
    assert calls == ["seq", "systemctl", "sleep", "systemctl", "sleep", "systemctl", "apt-get", "apt-get"]
    assert "-o DPkg::Lock::Timeout=600 install" in log.read_text()


FAKES = {
    "getent": "echo ubuntu:x:1000:1000::$HOME:/bin/bash",
    "id": "echo 1000",
    "blkid": "exit 2",
    "mkfs.ext4": 'echo "mkfs.ext4 $*" >>$HOME/calls',
    "mountpoint": "[ -e $HOME/mounted ]",
    "runuser": 'echo "runuser $*" >>$HOME/calls; shift 3; exec "$@"',
    "mount": 'ls -d "$2" && echo "mount $*" >>$HOME/calls && touch $HOME/mounted',
    "chown": "",
}


def test_a_blank_disk_and_its_folder_always_belong_to_the_user(tmp_path: Path) -> None:
    (perboot,) = (
        one["content"] for one in config()["write_files"] if one["path"].endswith("per-boot/gpujob")
    )
    disk, programs = tmp_path / "vol1", tmp_path / "bin"
    programs.mkdir()
    disk.write_bytes(bytes(4096))
    for name, text in FAKES.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    script = perboot.replace(ANY_VOLUME, str(disk)).replace('[ -b "$1" ]', '[ -e "$1" ]')
    for folder in ("/run/", "/var/lib/"):
        script = script.replace(f" {folder}", f" {tmp_path}{folder}").replace(
            f">{folder}", f">{tmp_path}{folder}"
        )
    for folder in ("run/gpujob", "run/gpujob-watchdog", "var/lib/gpujob"):
        (tmp_path / folder).mkdir(parents=True)
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(["sh", "-c", script, "gpujob", "first"], env=env, check=True, stdout=subprocess.DEVNULL)
    root = tmp_path / ".gpujob"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"mkfs.ext4 -q -m 0 -L gpujob -E root_owner=1000:1000 {disk}",
        f"runuser -u ubuntu -- mkdir -p {root}",
        f"mount {disk} {root}",
    ]


def test_users_linger_so_a_deploy_has_no_note_about_shared_memory() -> None:
    assert any("/var/lib/systemd/linger/ubuntu" in command for command in config()["bootcmd"])


def test_it_fits_into_user_data_with_room_to_spare() -> None:
    assert len(TEXT.encode()) < USER_DATA_LIMIT // 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"user": "root; reboot"},
        {"authorized_key": "ssh-ed25519 AAAA\nssh-rsa BBBB"},
        {"host_public": ""},
        {"host_private": "AAAA"},
        {"deadline": 0},
        {"boot_grace": -1},
        {"data": "/dev/sdf; rm -rf /"},
        {"ready": "/run/$(id)"},
    ],
)
def test_a_value_that_could_break_out_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(VALUES, **wrong).render(TEMPLATE)


def test_user_data_too_long_for_ec2_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        VALUES.render(TEMPLATE + "x: |\n" + "  y\n" * USER_DATA_LIMIT)


def test_a_volume_is_found_by_its_name_on_the_instance() -> None:
    assert boot.volume_path("vol-0abc") == "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0abc"


def test_cloud_init_accepts_the_user_data(tmp_path: Path) -> None:
    needs.require("cloud-init")
    path = tmp_path / "user-data"
    for text, code in ((TEXT, 0), (TEXT + "runcmd: 3\n", 1)):
        path.write_text(text)
        words = [str(needs.tool("cloud-init")), "schema", "-c", str(path)]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        assert result.returncode == code, result.stdout + result.stderr


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    needs.require("systemd-analyze")
    units = {name: text for name, text in files().items() if name.endswith((".service", ".timer"))}
    assert len(units) == 4
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in units)]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    messages = [line for line in result.stderr.splitlines() if "gpujob" in line]
    assert (result.returncode, messages) == (0, [])


def test_the_shell_accepts_the_scripts(tmp_path: Path) -> None:
    scripts = [
        files()["boot"],
        files()["check"],
        config()["write_files"][0]["content"],
        *(command for command in config()["runcmd"] + config()["bootcmd"] if isinstance(command, str)),
    ]
    for script in scripts:
        result = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (result.returncode, result.stderr) == (0, "")
