"""Modes of the helper that no client waits for. An exception is written to a file: nobody reads stderr."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Iterator

from orchestrator.core.layout import Layout
from orchestrator.onhost.records import RunSpec

if TYPE_CHECKING:
    from orchestrator.onhost.supervisor import Supervisor


def supervise(layout: Layout, words: list[str]) -> None:
    """Runs the supervisor of `RUN UMASK RESTARTS LAST-START`; none if another one has begun."""
    from orchestrator.onhost import launching

    run_id, umask, restarts, after = words[0], int(words[1], 8), int(words[2]), words[3]
    with _recorded(layout.run(run_id).folder + "/supervisor.err"), contextlib.suppress(launching.Overtaken):
        _supervisor(layout, run_id, umask, restarts, after).main()


def _supervisor(layout: Layout, run_id: str, umask: int, restarts: int, after: str) -> Supervisor:
    """Returns the supervisor of a run. Raises launching.Overtaken if another start followed `after`."""
    spec = RunSpec.load(layout.run(run_id).run_json)
    if spec and spec.group:
        from orchestrator.onhost.group_supervisor import GroupSupervisor

        return GroupSupervisor(layout.root, run_id, umask, restarts, spec.group, after)
    from orchestrator.onhost.supervisor import Supervisor

    return Supervisor(layout.root, run_id, umask, restarts, after)


def alert(layout: Layout, words: list[str]) -> None:
    """Sends the alerts of the run that the first word names."""
    from orchestrator.onhost import alert_watch

    run_id = words[0]
    with contextlib.suppress(Exception), _recorded(layout.run(run_id).folder + "/alerts.err"):
        alert_watch.main(layout, run_id)


def advance(layout: Layout, words: list[str]) -> None:
    """Starts what waits in the queue, also once the pane or the connection that started this is gone."""
    from orchestrator.onhost import dispatch, signals

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.unblock()
    with contextlib.suppress(Exception), _recorded(layout.root + "/queue.err"):
        dispatch.advance(layout)


@contextlib.contextmanager
def _recorded(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        import traceback

        with open(path, "a") as errors:
            errors.write(traceback.format_exc())
        raise
