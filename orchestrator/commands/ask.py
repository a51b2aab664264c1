"""Asks hosts at the same time, and waits for each as long as it has needed before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from orchestrator.context import Context
from orchestrator.core import shell
from orchestrator.errors import Unreachable
from orchestrator.store import Pace, Store

T = TypeVar("T")
_LEAST, _MOST = 2.0, 16.0
_MARGIN = 3.0  # times the seconds that the last answer took
_NOTICE = 1.0  # seconds after which a terminal shows what is waited for


def patience(pace: Pace) -> float:
    """Seconds to wait for one of several hosts.

    A host that missed its time gets twice as long at the next command, up to the most, and then starts again
    with the least: a slow one is reached, and one that is down does not slow every command.
    """
    if pace.misses:
        return float(_LEAST * 2 ** (pace.misses % 4))
    return min(_MOST, max(_LEAST, _MARGIN * pace.seconds))


def in_parallel(
    ctx: Context, store: Store, labels: Sequence[str], ask: Callable[[str], T], wait: float | None
) -> dict[str, T | Exception]:
    """The answer of every host to `ask`, or its error: Unreachable for one that does not answer in time.

    `wait`: seconds for each; None: by its pace. A host that is alone has all the time that it needs.
    """
    answers: dict[str, T | Exception] = {}
    if len(labels) == 1 and wait is None:
        _timed(store, labels[0], ask, answers)
        return answers
    started = time.monotonic()
    limits = {label: patience(store.pace(label)) if wait is None else wait for label in labels}
    threads = {
        label: threading.Thread(target=_timed, args=(store, label, ask, answers), daemon=True)
        for label in labels
    }
    for thread in threads.values():
        thread.start()
    with _notice(ctx, threads, limits):
        for label in sorted(labels, key=lambda label: limits[label]):
            threads[label].join(max(0.0, started + limits[label] - time.monotonic()))
            if threads[label].is_alive():
                longer = f"{shell.join(['gpujob', 'status', '--on', label])} waits longer"
                error = Unreachable(f"no answer in {limits[label]:g} s", longer)
                answers.setdefault(label, error)
                _save(store, label, Pace(misses=store.pace(label).misses + 1))
    return answers


def _timed(store: Store, label: str, ask: Callable[[str], T], answers: dict[str, T | Exception]) -> None:
    started = time.monotonic()
    try:
        answers[label] = ask(label)
    except Exception as error:  # of a thread: for the caller, who may have the answer from elsewhere
        answers[label] = error
    pace = Pace(round(time.monotonic() - started, 1))
    if patience(pace) != patience(store.pace(label)):
        _save(store, label, pace)


def _save(store: Store, label: str, pace: Pace) -> None:
    with contextlib.suppress(OSError):
        store.save_pace(label, pace)


@contextlib.contextmanager
def _notice(ctx: Context, threads: dict[str, threading.Thread], limits: dict[str, float]) -> Iterator[None]:
    """On a terminal, after a moment, names the hosts that have not answered."""
    if not ctx.shows_progress:
        yield
        return

    def show() -> None:
        slow = [f"{label} (up to {limits[label]:.0f} s)" for label, one in threads.items() if one.is_alive()]
        if slow:
            ctx.redraw(f"  waiting for {', '.join(slow[:3])}")

    timer = threading.Timer(_NOTICE, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        ctx.redraw("")
