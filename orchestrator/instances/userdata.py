"""What an EC2 box is told at birth: the values of templates/cloud-init.yaml, checked and put in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from orchestrator.errors import UsageError

LIMIT = 16384  # bytes, before base64 (RunInstances)
READY = "/run/gpujob/ready"
ANY_VOLUME = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol*"
_PLACE = re.compile(r"@([a-z_]+)@")
_COMMENT = re.compile(r"^ *#(?!cloud-config|!).*\n", re.MULTILINE)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}\Z")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [\w@.: -]*)?\Z")
_DISKS = re.compile(r"(/dev/[\w./*-]+)?\Z")


@dataclass(frozen=True)
class UserData:
    """`authorized_key` and `host_public` are one line each; `host_private` is an OpenSSH key.

    deadline: epoch seconds at which the box goes off. boot_grace: seconds after every boot until the
    lease is over, unless a run renews it. data: the disk to mount at ~/.gpujob (device paths: ANY_VOLUME
    or `volume(id)`), made into a file system only where it is blank; "" for none. ready: the file that is
    written when the box can be used.
    """

    user: str
    authorized_key: str
    host_private: str
    host_public: str
    deadline: int
    boot_grace: int
    spot: bool = False
    data: str = ""
    ready: str = READY


def volume(volume_id: str) -> str:
    """The path at which a box sees the EBS volume `vol-…`."""
    return ANY_VOLUME.replace("vol*", volume_id.replace("-", ""))


def render(template: str, values: UserData) -> str:
    """The user-data as text. UsageError when a value is none, or the whole is too long for EC2."""
    _check(values)
    places = {
        "user": values.user,
        "authorized_key": json.dumps(values.authorized_key),
        "host_private": json.dumps(values.host_private),
        "host_public": json.dumps(values.host_public),
        "deadline": str(values.deadline),
        "boot_grace": str(values.boot_grace),
        "spot": "yes" if values.spot else "no",
        "data": values.data,
        "marker": values.ready,
    }
    text = _PLACE.sub(lambda place: places[place[1]], _COMMENT.sub("", template))
    if len(text.encode()) > LIMIT:
        raise UsageError("the box's user-data is too long", f"{len(text.encode())} bytes; EC2 takes {LIMIT}")
    return text


def _check(values: UserData) -> None:
    fine = {
        "user": _USER.match(values.user),
        "authorized key": _KEY.match(values.authorized_key),
        "host key": _KEY.match(values.host_public) and "PRIVATE KEY" in values.host_private,
        "deadline": 0 < values.deadline < 10**11,
        "boot grace": 0 < values.boot_grace < 10**6,
        "data disk": _DISKS.match(values.data),
        "ready file": re.match(r"/[\w./-]+\Z", values.ready),
    }
    for name, is_fine in fine.items():
        if not is_fine:
            raise UsageError(f"the {name} of the new box is none that can be used")
