"""The kill switches of an EC2 box, seen from what runs on it (docs/box.md).

Two files of epoch seconds, deadline and lease, are all that the box compares with its clock; one that is
missing counts as over. They lie in memory; a copy of the deadline on the disk outlives a stop.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.parse
from typing import Any

from orchestrator.onhost import jsonfile
from orchestrator.onhost.answers import Refused

RUN, KEPT = "/run/gpujob", "/var/lib/gpujob"
METADATA = "http://169.254.169.254"
NOTICE_PATH = "/latest/meta-data/spot/instance-action"
PATIENCE = 0.5  # seconds for the metadata service, which is one hop away


class Box:
    """The files of one box. Times are epoch seconds."""

    def __init__(self, run: str, kept: str) -> None:
        self._run = run
        self._kept = kept

    @property
    def deadline(self) -> int | None:
        return _number(os.path.join(self._run, "deadline"))

    @property
    def lease(self) -> int | None:
        return _number(os.path.join(self._run, "lease"))

    @property
    def is_spot(self) -> bool:
        return os.path.exists(os.path.join(self._run, "spot"))

    def renew(self, until: float) -> int:
        """Moves the lease forward, never back; what it is now. OSError where that may not be written."""
        now = self.lease or 0
        if until > now:
            _put(os.path.join(self._run, "lease"), str(int(until)))
        return max(now, int(until))

    def extend(self, until: float) -> bool:
        """Moves the deadline, forward or back; whether it outlives a stop, which a full disk prevents."""
        kept = True
        try:
            _put(os.path.join(self._kept, "deadline"), str(int(until)))
        except OSError:
            kept = False
        _put(os.path.join(self._run, "deadline"), str(int(until)))
        return kept

    def note(self, notice: dict[str, Any]) -> None:
        """Keeps a spot notice for who asks later."""
        _put(os.path.join(self._run, "notice"), json.dumps(notice))

    def facts(self) -> dict[str, Any]:
        """deadline, lease, now, uptime, spot, ready (what the boot said), notice, off (why it last did)."""
        return {
            "deadline": self.deadline,
            "lease": self.lease,
            "now": int(time.time()),
            "uptime": _uptime(),
            "spot": self.is_spot,
            "ready": _json(os.path.join(self._run, "ready")),
            "notice": _json(os.path.join(self._run, "notice")),
            "off": _read(os.path.join(self._kept, "off")),
        }


def here() -> Box | None:
    """The box this runs on; None on any other host. GPUJOB_BOX: a folder with `run` and `kept` instead."""
    folder = os.environ.get("GPUJOB_BOX")
    run, kept = (os.path.join(folder, "run"), os.path.join(folder, "kept")) if folder else (RUN, KEPT)
    return Box(run, kept) if os.path.exists(os.path.join(run, "deadline")) else None


def answer(op: str, value: float | None = None) -> dict[str, Any]:
    """`box`; `lease`: `value` seconds from now; `extend`: to `value`. The facts afterwards."""
    found = here()
    if found is None:
        raise Refused("box", "this host has no kill switches of gpujob's")
    kept = True
    try:
        if op == "lease" and value is not None:
            found.renew(time.time() + value)
        if op == "extend" and value is not None:
            kept = found.extend(value)
    except OSError as error:
        raise Refused("box", "%s: %s" % (error.filename, error.strerror)) from None
    return dict(found.facts(), kept=kept)


class Metadata:
    """Asks the instance metadata service, version 2, for the spot notice."""

    def __init__(self) -> None:
        given = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA
        self._host = urllib.parse.urlsplit(given).netloc
        self._token = ""

    def notice(self) -> dict[str, Any] | None:
        """`{"action", "time"}` once the box is to be taken back; None before, or without an answer."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self._ask()
            if status == 401:
                self._token = ""
                status, body = self._ask()
            if status == 200:
                said = json.loads(body)
                return said if isinstance(said, dict) else None
        return None

    def _ask(self) -> tuple[int, str]:
        if not self._token:
            wanted = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            status, self._token = self._request("PUT", "/latest/api/token", wanted)
            if status != 200:
                self._token = ""
                return status, ""
        return self._request("GET", NOTICE_PATH, {"X-aws-ec2-metadata-token": self._token})

    def _request(self, verb: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        line = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        with contextlib.closing(line):
            line.request(verb, path, headers=headers)
            said = line.getresponse()
            return said.status, said.read(65536).decode("utf-8", "replace")


def _put(path: str, text: str) -> None:
    """Whole or not at all: what reads half a number would take the box down."""
    jsonfile.put(path, text + "\n", 0o666)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read(4096).strip()
    except OSError:
        return None


def _number(path: str) -> int | None:
    text = _read(path) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None


def _json(path: str) -> dict[str, Any] | None:
    try:
        value = json.loads(_read(path) or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _uptime() -> float | None:
    text = _read("/proc/uptime")
    return float(text.split()[0]) if text else None
