"""The helper: reads a JSON request per line of stdin, writes a reply per line of stdout, until stdin ends.

`{"id": 1, "op": "status", …}` → `{"id": 1, "answer": {…}}`, or `{"id": 1, "refused": {"kind", "message",
"details"}}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    alert_watch,
    alerts,
    background,
    cleaning,
    conflicts,
    copies,
    dispatch,
    elsewhere,
    engines,
    event_samples,
    files,
    frames,
    host_facts,
    instance_limits,
    inventory,
    launching,
    log_events,
    log_lines,
    mirror,
    private,
    processes,
    reboot,
    remote_command,
    run_facts,
    runs,
    s3_data,
    staging,
    uploads,
    venvs,
    visit,
)
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.files import NoLocks
from orchestrator.onhost.printed_lines import PrintedLines
from orchestrator.onhost.records import RunSpec

Record = Dict[str, Any]
LONGEST_RENEWAL = 6 * 3600.0  # seconds after which a request no longer renews the lease of an instance


def _host_facts(layout: Layout, request: Record) -> Record:
    names = host_facts.Request._fields
    facts = host_facts.gather(layout, host_facts.Request(**{n: request[n] for n in names if n in request}))
    live = [{"id": run.id, "job": run.job} for run in conflicts.live_runs(layout)]
    queued = [{"id": name, "job": job} for name, job in conflicts.queued_runs(layout)]
    return dict(facts, live_runs=live, queued_runs=queued)


def _status(layout: Layout, request: Record) -> Record:
    """Returns all runs (see run_facts.find_all), or the requested `runs`, and the facts of the machine.

    `lines`: how many lines of each log's end to return.
    """
    lines = request.get("lines", 5)
    if request.get("runs") is None:
        facts = run_facts.find_all(layout, lines)
    else:
        named = [run_facts.find(layout, run_id, lines) for run_id in request["runs"]]
        facts = [run for run in named if run]
    return {"runs": [run.to_json() for run in facts], **host_facts.machine(layout)}


def _record(layout: Layout, request: Record) -> Record:
    """Returns the content of run.json; without what identifies processes, and the patch of a dirty tree."""
    spec = RunSpec.load(layout.run(request["run"]).run_json)
    if spec is None:
        raise Refused("no-record", "run.json of %s cannot be read" % request["run"])
    record = {key: value for key, value in spec.record.items() if key not in ("mark", "group_key")}
    for name in ("code", "trainers"):
        if isinstance(record.get(name), dict):
            record[name] = {key: value for key, value in record[name].items() if key != "patch"}
    return {"record": record}


def _start(layout: Layout, request: Record) -> Record:
    names = ("secrets", "resume", "share_gpu", "known_runs")
    options = {name: request[name] for name in names if name in request}
    start = dispatch.enqueue if request.get("queue") else runs.start
    return start(layout, runs.StartRequest(RunSpec.parse(request["spec"]), **options))


def _stage(layout: Layout, request: Record) -> Record:
    free = request.get("free")
    space = None if free is None else staging.ClientSpace(free, request.get("present") or {})
    return staging.stage(layout, request["run"], request["which"], space)


def _ensure_environment(layout: Layout, request: Record) -> Record:
    names = venvs.Environment._fields
    return {
        "python": venvs.ensure(layout, venvs.Environment(**{n: request[n] for n in names if n in request}))
    }


def _ensure_image(layout: Layout, request: Record) -> Record:
    return {"id": engines.ensure_image(layout, request["key"], request["image"])}


def _test_alert(layout: Layout, request: Record) -> Record:
    """Sends a test alert over each channel, once; returns the error of each, None where it was delivered."""
    spec = RunSpec.parse(request["spec"])
    senders = alert_watch.channels(spec, request.get("secrets") or {}, layout.root)
    alert = alerts.trial(elsewhere.host_name())
    return {"errors": {name: send(alert).error for name, send in senders.items()}}


# Each returns a JSON object, or None for an empty one.
_OPS: dict[str, Callable[[Layout, Record], Any]] = {
    "host_facts": _host_facts,
    "status": _status,
    "start": _start,
    "test_alert": _test_alert,
    "stop": lambda layout, r: dispatch.stop(layout, r["run"], r["by"], r.get("now", False)),
    "clean": lambda layout, r: cleaning.clean(layout, r["run"], r.get("purge", False)),
    "ensure_environment": _ensure_environment,
    "ensure_image": _ensure_image,
    "begin_tree": lambda layout, r: uploads.begin_tree(layout, r["tree"]),
    "finish_tree": lambda layout, r: uploads.finish_tree(layout, r["tree"]),
    "begin_data": lambda layout, r: uploads.begin_data(layout, r["name"], r["fingerprint"]),
    "finish_data": lambda layout, r: uploads.finish_data(
        layout, r["name"], r["fingerprint"], r.get("precision", 1), r.get("expected")
    ),
    "fetch_s3": lambda layout, r: s3_data.fetch(layout, s3_data.Request.parse(r)),
    "record": _record,
    "begin_copy": lambda layout, r: copies.begin(layout, r["run"]),
    "finish_copy": lambda layout, r: copies.finish(
        layout, r["run"], r["token"], r["targets"], r.get("force", False)
    ),
    "read_events": lambda layout, r: event_samples.read(layout, r["run"], r["offset"], r["limit"]),
    "read_log_events": lambda layout, r: log_events.read(layout, r["run"], r["offset"], r["limit"]),
    "stage": _stage,
    "unstage": lambda layout, r: staging.unstage(layout, r["run"], r["token"], r.get("fetched", False)),
    "written": lambda layout, r: inventory.written(layout, r["run"]),
    "instance": lambda layout, r: instance_limits.answer(),
    "renew_lease": lambda layout, r: instance_limits.answer(lease_seconds=r["seconds"]),
    "set_deadline": lambda layout, r: instance_limits.answer(deadline=r["until"]),
}

_WHILE_BOOTING = ("instance", "renew_lease", "set_deadline")


def answer(layout: Layout, request: Record) -> Record:
    """Returns the reply to one request; an exception becomes a refusal."""
    reply: Record = {"id": request.get("id")}
    try:
        operation = _OPS.get(str(request.get("op")))
        if operation is None:
            raise Refused("op", "this helper has no operation %r" % request.get("op"))
        private.require_root(layout.root)
        if request["op"] not in _WHILE_BOOTING and instance_limits.is_booting():
            raise Refused("booting", "the boot of this instance has not ended")
        reply["answer"] = operation(layout, request) or {}
    except Refused as error:
        reply["refused"] = {"kind": error.kind, "message": str(error), "details": error.details}
    except NoLocks as error:
        reply["refused"] = {"kind": "no-locks", "message": str(error)}
    except Exception:
        message = traceback.format_exc()
        reply["refused"] = {"kind": "failed", "message": message.strip().splitlines()[-1]}
        sys.stderr.write(message)
    return reply


def serve(layout: Layout, disconnected: Callable[[], None] = processes.exit_with_descendants) -> None:
    """Answers requests until stdin ends; during one sends messages `{"id", "heartbeat", "hashed", "lines"}`.

    `hashed`: the bytes that the request has hashed so far. `lines`: what it has printed since the one before.

    If the client is gone, `disconnected` ends this process, whatever it does: every request may be repeated.

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
                disconnected()

        threading.Thread(target=watch, daemon=True).start()
        reply = answer(layout, request)
        done.set()
        if lines := output.lines():
            send({"id": request.get("id"), "heartbeat": True, "lines": lines})
        send(reply)


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


def main(arguments: list[str]) -> int:
    """Runs `helper ROOT`, `run ROOT`, `follow ROOT RUN FILE OFFSET QUERY`, `alert ROOT RUN`,
    `mirror ROOT RUN`, `reboot ROOT`, `supervise ROOT RUN UMASK RESTARTS LAST-START`, or `advance ROOT`."""
    umask = private.restrict_umask()
    mode, root, rest = arguments[0], os.path.expanduser(arguments[1]), arguments[2:]
    layout = elsewhere.layout(os.path.abspath(root))
    if mode == "helper":
        os.makedirs(layout.root, mode=0o700, exist_ok=True)
        runs.user_umask = umask
        launching.advance_later(layout)
        serve(layout)
    elif mode == "exec":
        return visit.run(layout, rest[0], rest[1], umask)
    elif mode == "supervise":
        background.supervise(layout, rest)
    elif mode == "advance":
        background.advance(layout)
    elif mode == "alert":
        background.alert(layout, rest[0])
    elif mode == "mirror":
        mirror.main(layout, rest[0])
    elif mode == "reboot":
        runs.user_umask = umask
        reboot.resume_all(layout)
    else:
        try:
            if mode == "follow":
                query = log_lines.Query.from_word(rest[3])
                log_lines.send(layout, rest[0], rest[1], int(rest[2]), query, sys.stdout.buffer)
            else:
                request = json.loads(sys.stdin.buffer.readline())
                remote_command.run(request, sys.stdin.buffer, sys.stdout.buffer)
        finally:
            # Do not flush to a client that has disconnected, nor wait for a thread that reads stdin.
            os._exit(0)
    return 0
