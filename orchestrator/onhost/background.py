"""Modes of the helper that no client waits for. An exception is written to a file: nobody reads stderr."""

from __future__ import annotations

import contextlib
import signal
import traceback
from typing import Iterator

from orchestrator.core.layout import Layout
from orchestrator.onhost import alert_watch, dispatch, group_supervisor, launching, signals


def supervise(layout: Layout, words: list[str]) -> None:
    """Runs the supervisor of `RUN UMASK RESTARTS LAST-START`; none if another one has begun."""
    run_id, umask, restarts, after = words[0], int(words[1], 8), int(words[2]), words[3]
    with _recorded(layout.run(run_id).folder + "/supervisor.err"), contextlib.suppress(launching.Overtaken):
        group_supervisor.new(layout, run_id, umask, restarts, after).main()


def alert(layout: Layout, run_id: str) -> None:
    """Sends the alerts of a run."""
    with contextlib.suppress(Exception), _recorded(layout.run(run_id).folder + "/alerts.err"):
        alert_watch.main(layout, run_id)


def advance(layout: Layout) -> None:
    """Starts what waits in the queue, also once the pane or the connection that started this is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.unblock()
    with contextlib.suppress(Exception), _recorded(layout.root + "/queue.err"):
        dispatch.advance(layout)


@contextlib.contextmanager
def _recorded(path: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with open(path, "a") as errors:
            errors.write(traceback.format_exc())
        raise
