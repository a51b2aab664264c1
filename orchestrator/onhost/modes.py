"""What the helper does, by the first word of its arguments. Each mode imports its modules when it runs.

The exceptions of a mode that no client waits for are written to a file: nobody reads its stderr.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Callable, Iterator

from orchestrator.core.layout import Layout
from orchestrator.onhost import elsewhere, private

if TYPE_CHECKING:
    from orchestrator.onhost.supervisor import Supervisor


def main(arguments: list[str]) -> int:
    """Runs `MODE ROOT ARGUMENTS`, as the mode's function says; returns the exit code."""
    gc.set_threshold(50_000, 20, 20)  # most of what a helper makes it keeps, or is no cycle
    private.restrict_umask()
    mode, root, rest = arguments[0], os.path.expanduser(arguments[1]), arguments[2:]
    return _MODES[mode](elsewhere.layout(os.path.abspath(root)), rest) or 0


def _helper(layout: Layout, _: list[str]) -> None:
    """Answers the requests of a client."""
    from orchestrator.onhost import helper, launching

    os.makedirs(layout.root, mode=0o700, exist_ok=True)
    launching.advance_later(layout)
    helper.serve(layout)


def _exec(layout: Layout, words: list[str]) -> int:
    """Runs a user's command beside a run: `RUN COMMAND`."""
    from orchestrator.onhost import visit

    return visit.run(layout, words[0], words[1], private.user_umask)


def _follow(layout: Layout, words: list[str]) -> None:
    """Sends a file of a run: `RUN FILE OFFSET QUERY`."""
    from orchestrator.onhost import log_lines

    with _ended_at_once():
        query = log_lines.Query.from_word(words[3])
        log_lines.send(layout, words[0], words[1], int(words[2]), query, sys.stdout.buffer)


def _run(layout: Layout, _: list[str]) -> None:
    """Runs a command for a client."""
    from orchestrator.core import jsontext
    from orchestrator.onhost import remote_command

    with _ended_at_once():
        request = jsontext.read_object(sys.stdin.buffer.readline())
        remote_command.run(request, sys.stdin.buffer, sys.stdout.buffer)


@contextlib.contextmanager
def _ended_at_once() -> Iterator[None]:
    """Does not flush to a client that has disconnected, nor wait for a thread that reads stdin."""
    try:
        yield
    finally:
        os._exit(0)


def supervise(layout: Layout, words: list[str]) -> None:
    """Runs the supervisor of `RUN UMASK RESTARTS LAST-START`; none if another one has begun."""
    from orchestrator.onhost import launching

    run_id, umask, restarts, after = words[0], int(words[1], 8), int(words[2]), words[3]
    with _recorded(layout.run(run_id).folder + "/supervisor.err"), contextlib.suppress(launching.Overtaken):
        _supervisor(layout, run_id, umask, restarts, after).main()


def _supervisor(layout: Layout, run_id: str, umask: int, restarts: int, after: str) -> Supervisor:
    """Returns the supervisor of a run. Raises launching.Overtaken if another start followed `after`."""
    from orchestrator.onhost.records import RunSpec

    spec = RunSpec.load(layout.run(run_id).run_json)
    if spec and spec.group:
        from orchestrator.onhost.group_supervisor import GroupSupervisor

        return GroupSupervisor(layout.root, run_id, umask, restarts, spec.group, after)
    from orchestrator.onhost.supervisor import Supervisor

    return Supervisor(layout.root, run_id, umask, restarts, after)


def _alert(layout: Layout, words: list[str]) -> None:
    """Sends the alerts of the run that the first word names."""
    from orchestrator.onhost import alert_watch

    run_id = words[0]
    with contextlib.suppress(Exception), _recorded(layout.run(run_id).folder + "/alerts.err"):
        alert_watch.main(layout, run_id)


def _advance(layout: Layout, _: list[str]) -> None:
    """Starts what waits in the queue, also once the pane or the connection that started this is gone."""
    from orchestrator.onhost import dispatch, signals

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.unblock()
    with contextlib.suppress(Exception), _recorded(layout.root + "/queue.err"):
        dispatch.advance(layout)


def _mirror(layout: Layout, words: list[str]) -> None:
    """Copies the results of the run that the first word names to S3."""
    from orchestrator.onhost import mirror

    mirror.main(layout, words[0])


def _reboot(layout: Layout, _: list[str]) -> None:
    """Starts the runs again that a restart of this machine interrupted."""
    from orchestrator.onhost import reboot

    reboot.resume_all(layout)


@contextlib.contextmanager
def _recorded(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        import traceback

        with open(path, "a") as errors:
            errors.write(traceback.format_exc())
        raise


_MODES: dict[str, Callable[[Layout, list[str]], int | None]] = {
    "helper": _helper,
    "exec": _exec,
    "follow": _follow,
    "run": _run,
    "supervise": supervise,
    "alert": _alert,
    "advance": _advance,
    "mirror": _mirror,
    "reboot": _reboot,
}
