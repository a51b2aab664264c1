"""All of a run for `report`, `diff` and the exports: from its host, or from the folder of a fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from orchestrator import registry, settings_files
from orchestrator.commands import runs
from orchestrator.context import Context
from orchestrator.core import decode, events, rundetails, runfacts, runstate
from orchestrator.core.hostfacts import Gpu
from orchestrator.core.layout import RunPaths
from orchestrator.core.logquery import LogQuery
from orchestrator.core.rundetails import RunDetails
from orchestrator.core.runfacts import RunFacts
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.instances import prices
from orchestrator.instances.records import InstanceStore
from orchestrator.onhost import log_events, run_facts
from orchestrator.onhost.files import last_bytes, load_json, open_regular
from orchestrator.store import Store
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Refused

MOST_EVENTS = 48 << 20  # bytes that a host sends for a picture; of more, samples
_LINES = 40
_BLOCK = 1 << 20


class RunData(msgspec.Struct, frozen=True):
    """A run with its events: those that it wrote, or what its log says of progress and metrics.

    `state`: its word, or why it is not known. `events` yields lines of JSON in blocks, for which a host is
    asked; `sampled_events`: as many of them as a picture needs. `cost_usd`: None where it runs on no
    instance. `folder`: of a fetched run. `gpus`: of its host now.
    """

    facts: RunFacts
    details: RunDetails
    state: str
    target: str
    events: Callable[[], Iterator[bytes]]
    sampled_events: Callable[[], str]
    cost_usd: float | None = None
    folder: Path | None = None
    gpus: tuple[Gpu, ...] = ()

    @property
    def id(self) -> str:
        return self.facts.id


def visit(ctx: Context, words: Sequence[str | None], on: str | None, use: Callable[[RunData], None]) -> None:
    """Calls `use` for each run that is named, in order. A word is a run, or a folder that `fetch` wrote.

    The host of a run is connected to while `use` has it. NotFound for a run that is neither there nor here.
    """
    store, settings = Store(ctx.state_dir), settings_files.load(ctx)
    for word in words:
        if word is not None and (folder := find_folder(ctx, word)):
            use(from_folder(ctx, folder))
            continue
        label = runs.find_target(ctx, store, on, word)
        try:
            with registry.target(ctx, settings, label).connect() as host:
                run = runs.get(ctx, host, store, word)
                use(from_host(ctx, host, helper.find_run(host, run.id, _LINES) or run))
        except Unreachable as error:
            fetched = _fetched(ctx, Path(settings["fetch_dir"].value), store, word)
            if fetched is None:
                raise
            ctx.warn(f"{error.what}: {ctx.short(fetched)} is used instead, as it was fetched")
            use(from_folder(ctx, fetched))


def find_folder(ctx: Context, word: str) -> Path | None:
    """The folder that a word names, if it is one with run.json. NotFound for a path that is none."""
    path = ctx.path(word)
    if (path / "run.json").is_file():
        return path
    if "/" in word:
        raise NotFound(f"{word} is not the folder of a fetched run", "it has no run.json", "gpujob fetch RUN")
    return None


def _fetched(ctx: Context, base: Path, store: Store, word: str | None) -> Path | None:
    known = [run.facts for run in store.runs().values()]
    try:
        folder = ctx.cwd / base / runs.choose(known, word, ctx.now()).id
    except GpujobError:
        return None
    return folder if (folder / "run.json").is_file() else None


def details(host: Host, run: RunFacts) -> RunDetails:
    """What run.json says of a run, or what is known without it where it cannot be read."""
    try:
        return helper.record(host, run.id)
    except Refused:
        return RunDetails(job=run.job)


def from_host(ctx: Context, host: Host, run: RunFacts) -> RunData:
    read = helper.read_log_events if run.from_log else helper.read_events

    def all_blocks() -> Iterator[bytes]:
        name = "log" if run.from_log else "events.jsonl"
        blocks = host.follow(run.id, name, LogQuery(follow=False))
        return _of_log(blocks) if run.from_log else blocks

    return RunData(
        run,
        details(host, run),
        runstate.word(runstate.fold(run, ctx.now())),
        host.label,
        all_blocks,
        lambda: read(host, run.id, 0, MOST_EVENTS)[0],
        prices.group_cost(InstanceStore(ctx.state_dir), host.label, run, ctx.now()),
        gpus=helper.look(host, run.id, 0).machine.gpus or (),
    )


def from_folder(ctx: Context, folder: Path) -> RunData:
    """As it was when it was fetched; a run that had not ended then says so."""
    paths = RunPaths(str(folder))
    record = load_json(paths.run_json) or {}
    tail = last_bytes(paths.log, 1 << 16).decode("utf-8", errors="replace").splitlines()
    events = run_facts.latest_events(paths, record.get("trainer"))
    answer = {
        "id": record.get("id"),
        "run": record,
        "state": load_json(paths.state),
        "log": {"bytes": None, "tail": [decode.one_line(line) for line in tail[-_LINES:]]},
        "events": events.lines,
        "from_log": [taken._asdict() for taken in events.from_log],
    }
    facts = runfacts.parse_run(answer)
    if facts is None:
        raise NotFound(f"{folder} holds no run", "run.json has no valid id", "gpujob fetch RUN")
    is_known = facts.ended is not None
    state = runstate.word(runstate.fold(facts, ctx.now())) if is_known else "not ended when it was fetched"

    def all_blocks() -> Iterator[bytes]:
        return _of_log(_blocks(paths.log)) if facts.from_log else _blocks(paths.events)

    def text() -> str:
        if facts.from_log:
            return str(log_events.read_file(paths.log, 0, MOST_EVENTS)["text"])
        return b"".join(all_blocks()).decode("utf-8", errors="replace")

    return RunData(facts, rundetails.parse(record), state, "fetched", all_blocks, text, folder=folder)


def _blocks(path: str) -> Iterator[bytes]:
    try:
        with open_regular(path) as file:
            yield from iter(lambda: file.read(_BLOCK), b"")
    except OSError:
        return


def _of_log(blocks: Iterator[bytes]) -> Iterator[bytes]:
    return (line.encode() for line in log_events.parse(blocks))


def lines(blocks: Iterator[bytes]) -> Iterator[str]:
    """The complete lines of a stream."""
    rest = b""
    for block in blocks:
        *complete, rest = (rest + block).split(b"\n")
        for line in complete:
            yield line.decode("utf-8", errors="replace")
    if rest:
        yield rest.decode("utf-8", errors="replace")


def latest_metrics(recorded: Sequence[events.Event]) -> dict[str, float]:
    """The latest value of each metric, as `val.loss`, and the loss of the training as `train.loss`."""
    metrics = {
        f"{event.split}.{name}": value
        for event in recorded
        if isinstance(event, events.Metrics)
        for name, value in event.values.items()
        if value is not None
    }
    for event in recorded:
        if isinstance(event, events.Progress) and event.phase == "train" and event.loss is not None:
            metrics["train.loss"] = event.loss
    return metrics
