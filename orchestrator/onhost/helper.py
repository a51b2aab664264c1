"""Answers questions: one JSON object a line on stdin, one a line on stdout, as long as stdin is open.

`{"id": 1, "op": "look", …}` → `{"id": 1, "answer": {…}}`, or
`{"id": 1, "refused": {"kind", "message", "about"}}`.
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
    box,
    command,
    environments,
    facts,
    files,
    frames,
    look,
    proc,
    rivals,
    runs,
    staging,
    supervisor,
    trees,
)
from orchestrator.onhost.answers import Refused

Question = Dict[str, Any]
LONGEST = 6 * 3600.0  # seconds that one answer holds a box, whoever waits for it


def _facts(layout: Layout, q: Question) -> Any:
    found = facts.gather(
        layout,
        q.get("trees", []),
        q.get("pythons", []),
        q.get("standing", {}),
        q.get("commands", []),
        q.get("data", {}),
        q.get("packages", []),
    )
    return dict(found, live=rivals.live(layout))


def _look(layout: Layout, q: Question) -> Any:
    """All runs (see look.every), or those named; `lines` of log each. GPUs and disk come along."""
    sessions, marks = look.session_names(layout), proc.by_mark()
    lines = q.get("lines", 5)
    if q.get("runs") is not None:
        seen = [look.one(layout, run_id, lines, sessions, marks) for run_id in q["runs"]]
    else:
        seen = list(look.every(layout, lines, sessions, marks))
    return {"runs": [run for run in seen if run], **facts.glance(layout)}


_OPS: dict[str, Callable[[Layout, Question], Any]] = {
    "facts": _facts,
    "look": _look,
    "start": lambda layout, q: runs.start(
        layout,
        q["spec"],
        q.get("secrets", {}),
        q.get("resume", False),
        q.get("share_gpu", False),
        q.get("beside"),
    ),
    "stop": lambda layout, q: runs.stop(layout, q["run"], q["by"], q.get("now", False)),
    "clean": lambda layout, q: runs.clean(layout, q["run"], q.get("purge", False)),
    "make_environment": lambda layout, q: environments.make(
        layout, environments.Wanted(*(q[name] for name in environments.Wanted._fields))
    ),
    "begin_tree": lambda layout, q: trees.begin_tree(layout, q["tree"]),
    "seal_tree": lambda layout, q: trees.seal_tree(layout, q["tree"]),
    "begin_data": lambda layout, q: trees.begin_data(layout, q["name"], q["fingerprint"]),
    "seal_data": lambda layout, q: trees.seal_data(layout, q["name"], q["fingerprint"]),
    "read": lambda layout, q: files.read(layout, q["run"], q["file"], q["offset"], q["limit"]),
    "stage": lambda layout, q: staging.stage(layout, q["run"], q["which"]),
    "box": lambda layout, q: box.answer("box"),
    "lease": lambda layout, q: box.answer("lease", q["seconds"]),
    "extend": lambda layout, q: box.answer("extend", q["until"]),
    "unstage": lambda layout, q: staging.unstage(layout, q["run"], q["token"]),
}


def answer(layout: Layout, question: Question) -> dict[str, Any]:
    """The answer to one question; never raises."""
    reply: dict[str, Any] = {"id": question.get("id")}
    try:
        operation = _OPS.get(str(question.get("op")))
        if operation is None:
            raise Refused("op", "this helper knows no %r" % question.get("op"))
        reply["answer"] = operation(layout, question)
    except Refused as no:
        reply["refused"] = {"kind": no.kind, "message": str(no), "about": no.about}
    except Exception:
        reply["refused"] = {
            "kind": "failed",
            "message": traceback.format_exc().strip().splitlines()[-1],
        }
        sys.stderr.write(traceback.format_exc())
    return reply


def serve(layout: Layout) -> None:
    """While an answer takes long, `{"id", "beat"}` lines tell that the line is alive.

    A question may carry `lease`: seconds from now, to which each of those moves the lease of the box. The
    client cannot ask for that itself before it has its answer.
    """
    lock = threading.Lock()

    def say(value: dict[str, Any]) -> None:
        with lock:
            sys.stdout.write(json.dumps(value) + "\n")
            sys.stdout.flush()

    for line in sys.stdin:
        question = json.loads(line)
        done = threading.Event()
        threading.Thread(target=_beat, args=(done, say, question), daemon=True).start()
        reply = answer(layout, question)
        done.set()
        say(reply)


def _beat(done: threading.Event, say: Callable[[dict[str, Any]], None], question: Question) -> None:
    """Ends with the answer, or with the client: what is gone cannot be told, and holds no box.

    Where its machine died, TCP gives up within a quarter of an hour, since there is always something to send.
    """
    held = box.here() if question.get("lease") else None
    until = time.monotonic() + LONGEST
    while not done.wait(frames.BEAT):
        try:
            say({"id": question.get("id"), "beat": True})
        except (OSError, ValueError):
            return
        if held and time.monotonic() < until:
            with contextlib.suppress(OSError):
                held.renew(time.time() + question["lease"])


def _supervise(layout: Layout, run_id: str) -> None:
    """A fault of the supervisor itself is kept beside the log: its pane is gone when it ends."""
    try:
        supervisor.Supervisor(layout.root, run_id).main()
    except BaseException:
        with open(layout.run(run_id).folder + "/supervisor.err", "a") as errors:
            errors.write(traceback.format_exc())
        raise


def main(arguments: list[str]) -> int:
    """`helper ROOT`, `run ROOT`, `follow ROOT RUN FILE OFFSET`, `supervise ROOT RUN`."""
    verb, root, rest = arguments[0], os.path.expanduser(arguments[1]), arguments[2:]
    layout = Layout(os.path.abspath(root), os.getuid())
    if verb == "helper":
        os.makedirs(layout.root, mode=0o700, exist_ok=True)
        serve(layout)
    elif verb in ("follow", "run"):
        try:
            if verb == "follow":
                files.follow(layout, rest[0], rest[1], int(rest[2]), sys.stdout.buffer)
            else:
                command.run(json.loads(sys.stdin.buffer.readline()), sys.stdin.buffer, sys.stdout.buffer)
        finally:
            # A reader that went away is told nothing, and a thread that waits for stdin is not waited for.
            os._exit(0)
    else:
        _supervise(layout, rest[0])
    return 0
