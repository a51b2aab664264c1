"""The operations of the helper: each turns a JSON request into a call, and its result into the answer.

An operation imports its modules when it runs: a helper that loads all of them starts three times slower.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional

from orchestrator.core.layout import Layout
from orchestrator.onhost import instance_limits
from orchestrator.onhost.errors import Refused

Record = Dict[str, Any]
Answer = Mapping[str, object]
Operation = Callable[[Layout, Record], Optional[Answer]]


def find(name: object) -> Operation:
    """Returns an operation, whose answer is an object or None for an empty one. Raises Refused."""
    operation = OPERATIONS.get(str(name))
    if operation is None:
        raise Refused("op", "this helper has no operation %r" % name)
    return operation


def _host_facts(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import allocation, host_facts

    names = host_facts.Request._fields
    facts = host_facts.gather(layout, host_facts.Request(**{n: request[n] for n in names if n in request}))
    live = [{"id": run.id, "job": run.job} for run in allocation.live_runs(layout)]
    queued = [{"id": name, "job": job} for name, job in allocation.queued_runs(layout)]
    return {**facts, "live_runs": live, "queued_runs": queued}


def _status(layout: Layout, request: Record) -> Answer:
    """Returns all runs (see run_facts.find_all), or the requested `runs`, and the facts of the machine.

    `lines`: how many lines of each log's end to return.
    """
    from orchestrator.onhost import host_facts, run_facts

    lines = request.get("lines", 5)
    if request.get("runs") is None:
        facts = run_facts.find_all(layout, lines)
    else:
        around = run_facts.look_around(layout)
        named = [run_facts.find(layout, run_id, lines, around) for run_id in request["runs"]]
        facts = [run for run in named if run]
    return {"runs": [run.to_json() for run in facts], **host_facts.machine(layout)}


def _record(layout: Layout, request: Record) -> Answer:
    """Returns the content of run.json; without what identifies processes, and the patch of a dirty tree."""
    from orchestrator.onhost.records import RunSpec

    spec = RunSpec.load(layout.run(request["run"]).run_json)
    if spec is None:
        raise Refused("no-record", "run.json of %s cannot be read" % request["run"])
    record = {key: value for key, value in spec.record.values.items() if key not in ("mark", "group_key")}
    for name in ("code", "trainers"):
        if isinstance(record.get(name), dict):
            record[name] = {key: value for key, value in record[name].items() if key != "patch"}
    return {"record": record}


def _start(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import dispatch, runs
    from orchestrator.onhost.records import RunSpec

    names = ("secrets", "resume", "share_gpu", "known_runs")
    options = {name: request[name] for name in names if name in request}
    start = dispatch.enqueue if request.get("queue") else runs.start
    return start(layout, runs.StartRequest(RunSpec.parse(request["spec"]), **options))


def _stop(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import dispatch

    return dispatch.stop(layout, request["run"], request["by"], request.get("now", False))


def _clean(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import cleaning

    return cleaning.clean(layout, request["run"], request.get("purge", False))


def _test_alert(layout: Layout, request: Record) -> Answer:
    """Sends a test alert over each channel, once; returns the error of each, None where it was delivered."""
    from orchestrator.onhost import alert_watch, alerts, elsewhere
    from orchestrator.onhost.records import RunSpec

    spec = RunSpec.parse(request["spec"])
    senders = alert_watch.channels(spec, request.get("secrets") or {}, layout.root)
    alert = alerts.trial(elsewhere.host_name())
    return {"errors": {name: send(alert).error for name, send in senders.items()}}


def _ensure_environment(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import setup, venvs

    names = venvs.Environment._fields
    options = {name: request[name] for name in names if name in request}
    if script := request.get("setup"):
        options["setup"] = setup.Setup(*(script[name] for name in setup.Setup._fields))
    return {"python": venvs.ensure(layout, venvs.Environment(**options))}


def _ensure_image(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import engines

    return {"id": engines.ensure_image(layout, request["key"], request["image"])}


def _begin_tree(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import uploads

    return uploads.begin_tree(layout, request["tree"], request.get("sender", ""))


def _finish_tree(layout: Layout, request: Record) -> None:
    from orchestrator.onhost import uploads

    uploads.finish_tree(layout, request["tree"], request.get("sender", ""))


def _begin_data(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import uploads

    sender = request.get("sender", "")
    return uploads.begin_data(layout, request["name"], request["fingerprint"], sender)


def _finish_data(layout: Layout, request: Record) -> None:
    from orchestrator.onhost import uploads

    print_, precision, sender = request["fingerprint"], request.get("precision", 1), request.get("sender", "")
    uploads.finish_data(layout, request["name"], print_, precision, request.get("expected"), sender)


def _fetch_s3(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import s3_data

    return s3_data.fetch(layout, s3_data.Request.parse(request))


def _begin_copy(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import copies

    return copies.begin(layout, request["run"])


def _finish_copy(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import copies

    targets, force = request["targets"], request.get("force", False)
    return copies.finish(layout, request["run"], request["token"], targets, force)


def _read_events(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import event_file

    return event_file.read(layout, request["run"], request["offset"], request["limit"])


def _read_log_events(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import log_events

    return log_events.read(layout, request["run"], request["offset"], request["limit"])


def _stage(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import staging

    free = request.get("free")
    space = None if free is None else staging.ClientSpace(free, request.get("present") or {})
    return staging.stage(layout, request["run"], request["which"], space)


def _unstage(layout: Layout, request: Record) -> None:
    from orchestrator.onhost import staging

    staging.unstage(layout, request["run"], request["token"], request.get("fetched", False))


def _written(layout: Layout, request: Record) -> Answer:
    from orchestrator.onhost import inventory

    return inventory.written(layout, request["run"])


OPERATIONS: dict[str, Operation] = {
    "host_facts": _host_facts,
    "status": _status,
    "start": _start,
    "test_alert": _test_alert,
    "stop": _stop,
    "clean": _clean,
    "ensure_environment": _ensure_environment,
    "ensure_image": _ensure_image,
    "begin_tree": _begin_tree,
    "finish_tree": _finish_tree,
    "begin_data": _begin_data,
    "finish_data": _finish_data,
    "fetch_s3": _fetch_s3,
    "record": _record,
    "begin_copy": _begin_copy,
    "finish_copy": _finish_copy,
    "read_events": _read_events,
    "read_log_events": _read_log_events,
    "stage": _stage,
    "unstage": _unstage,
    "written": _written,
    "instance": lambda layout, request: instance_limits.answer(),
    "renew_lease": lambda layout, request: instance_limits.answer(lease_seconds=request["seconds"]),
    "set_deadline": lambda layout, request: instance_limits.answer(deadline=request["until"]),
}

WHILE_BOOTING = ("instance", "renew_lease", "set_deadline")
