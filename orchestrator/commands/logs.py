"""`gpujob logs [RUN]`: prints a run's log, or a part of it that is chosen on its host, and follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from orchestrator import registry, settings_files
from orchestrator.commands import follow, runs
from orchestrator.context import Context
from orchestrator.core import runstate
from orchestrator.core.logquery import LogQuery
from orchestrator.core.text import harmless
from orchestrator.core.values import parse_since
from orchestrator.errors import Exit, UsageError
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Refused
from orchestrator.view import answers, log

LINES_OF_JSON = 1000


class Request(msgspec.Struct, frozen=True):
    """As typed: `tail` is a number of lines, `grep` a regular expression, `since` a time or an age.

    `rank`: of the host, for a run over several; None for the first that answers.
    """

    word: str | None = None
    on: str | None = None
    tail: int | None = None
    grep: str | None = None
    since: str | None = None
    attempt: int | None = None
    follow: bool = True
    rank: int | None = None


def logs(ctx: Context, request: Request) -> int:
    """0 once the log is printed, however the run ended; 130 on Ctrl-C. With --json: at most 1000 lines."""
    query = _query(ctx, request)
    settings = settings_files.load(ctx)
    store = Store(ctx.state_dir)
    where = runs.find_host(ctx, store, request.on, request.word, request.rank)
    target = registry.target(ctx, settings, where)
    with target.connect() as host:
        run = runs.get(ctx, host, store, request.word)
        if run.queue:
            ctx.talk(follow.waiting(run) + ("; its log follows once it has started" if query.follow else ""))
        blocks = _of_run(run.id, host.follow(run.id, "log", query))
        if ctx.json:
            ctx.answer(answers.Logs(run=run.id, lines=_lines(blocks)))
            return Exit.DONE
        writer = log.Writer(ctx.stdout)
        try:
            for block in blocks:
                writer.write(block)
        except KeyboardInterrupt:
            return follow.interrupted(ctx, run.id)
        writer.close()
        if query.follow:
            run = helper.find_run(host, run.id) or run
        if not writer.bytes:
            chosen = any((request.grep, request.tail == 0, request.since, request.attempt))
            ctx.talk("no line of the log is one of these" if chosen else "the log is empty")
        ctx.talk(f"run {run.id} {runstate.word(runstate.fold(run, ctx.now()))}")
    return Exit.DONE


def _of_run(run_id: str, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks; a refusal names the run in the command that it recommends."""
    try:
        yield from blocks
    except Refused as error:
        error.next_step = error.next_step.replace(" RUN ", f" {run_id} ")
        raise


def _query(ctx: Context, request: Request) -> LogQuery:
    if request.grep is not None:
        try:
            re.compile(request.grep)
        except re.error as error:
            what = f"--grep {request.grep}: not a regular expression"
            raise UsageError(what, str(error), "gpujob logs --grep 'loss|error'") from None
    tail = LINES_OF_JSON if ctx.json and request.tail is None else request.tail
    return LogQuery(
        grep=request.grep or "",
        tail=-1 if tail is None else tail,
        since=parse_since(request.since, ctx.now(), "logs") if request.since else 0.0,
        attempt=request.attempt or 0,
        follow=request.follow and not ctx.json,
    )


def _lines(blocks: Iterator[bytes]) -> tuple[str, ...]:
    """Each line as a terminal shows it."""
    text = b"".join(blocks).decode("utf-8", errors="replace")
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return tuple(harmless(line) for line in (shown[:-1] if shown[-1] == "" else shown))
