"""The helper: reads a JSON request per line of stdin, writes a reply per line of stdout, until stdin ends.

`{"id": 1, "op": "status", …}` → `{"id": 1, "answer": {…}}`, or `{"id": 1, "refused": {"kind", "message",
"details"}}`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from typing import Any, Callable, Dict, Mapping

from orchestrator.core.layout import Layout
from orchestrator.onhost import files, frames, instance_limits, operations, private, processes
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.files import NoLocks

Record = Dict[str, Any]
_PRINTED_BYTES = 1 << 16  # of a log that one message carries
_PRINTING = ("ensure_environment", "ensure_image")
LONGEST_RENEWAL = 6 * 3600.0  # seconds after which a request no longer renews the lease of an instance


def answer(layout: Layout, request: Record) -> Record:
    """Returns the reply to one request; an exception becomes a refusal."""
    reply: Record = {"id": request.get("id")}
    try:
        operation = operations.find(request.get("op"))
        private.require_root(layout.root)
        if request["op"] not in operations.WHILE_BOOTING and instance_limits.is_booting():
            raise Refused("booting", "the boot of this instance has not ended")
        reply["answer"] = operation(layout, request) or {}
    except Refused as error:
        reply["refused"] = {"kind": error.kind, "message": str(error), "details": error.details}
    except NoLocks as error:
        reply["refused"] = {"kind": "no-locks", "message": str(error)}
    except Exception:
        import traceback

        message = traceback.format_exc()
        reply["refused"] = {"kind": "failed", "message": message.strip().splitlines()[-1]}
        sys.stderr.write(message)
    return reply


def serve(layout: Layout) -> None:
    """Answers requests until stdin ends; during one sends messages `{"id", "heartbeat", "hashed", "lines"}`.

    `hashed`: the bytes that the request has hashed so far. `lines`: what it has printed since the one before.

    If the client is gone, this process ends, whatever it does: every request may be repeated.

    A request may have a `lease` in seconds: each heartbeat then renews the instance's lease to that long from
    now, since the client cannot send another request before it has its answer.
    """
    lock = threading.Lock()

    def send(reply: Record) -> None:
        with lock:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()

    for line in sys.stdin:
        request = json.loads(line)
        done = threading.Event()

        output = PrintedLines(layout, request)

        def watch(
            done: threading.Event = done, request: Record = request, output: PrintedLines = output
        ) -> None:
            if not _send_heartbeats(done, send, request, output.lines):
                processes.exit_with_descendants()

        threading.Thread(target=watch, daemon=True).start()
        reply = answer(layout, request)
        done.set()
        if lines := output.lines():
            send({"id": request.get("id"), "heartbeat": True, "lines": lines})
        send(reply)


class PrintedLines:
    """What an operation, such as an installation, has printed to its log since the last look."""

    def __init__(self, layout: Layout, request: Mapping[str, Any]) -> None:
        self._path = ""
        with contextlib.suppress(KeyError, TypeError, ValueError, Refused):
            if request["op"] in _PRINTING:
                self._path = layout.environment_log(request["key"])
            elif request["op"] == "fetch_s3":
                from orchestrator.onhost import s3_data  # the operation loads it, too

                self._path = s3_data.log_path(layout, request["name"], request["fingerprint"])
        self._offset = files.size(self._path)
        self._rest = b""

    def lines(self) -> list[str]:
        """Returns the latest of them, at most 50."""
        size = files.size(self._path)
        if size < self._offset:  # it was begun anew
            self._offset, self._rest = 0, b""
        block = files.last_bytes(self._path, min(size - self._offset, _PRINTED_BYTES)) if size else b""
        self._offset = size
        *complete, self._rest = (self._rest + block).split(b"\n")
        return [line.decode(errors="replace") for line in complete[-50:]]


def _send_heartbeats(
    done: threading.Event,
    send: Callable[[Record], None],
    request: Record,
    lines: Callable[[], list[str]] = list,
) -> bool:
    """Sends heartbeats and renews the lease until the answer is complete; False if the client is gone before.

    If the client's machine died, TCP detects it within 15 minutes, since heartbeats are sent all the time.
    """
    limits = instance_limits.find() if request.get("lease") else None
    until, before = time.monotonic() + LONGEST_RENEWAL, files.hashed_bytes
    while not done.wait(frames.HEARTBEAT):
        try:
            message = {"id": request.get("id"), "heartbeat": True, "hashed": files.hashed_bytes - before}
            send({**message, **({"lines": printed} if (printed := lines()) else {})})
        except (OSError, ValueError):
            return False
        if limits and time.monotonic() < until:
            with contextlib.suppress(OSError):
                limits.renew_lease(time.time() + request["lease"])
    return True
