"""monitor: one run through outages, and all live runs."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from orchestrator import registry
from orchestrator.commands import monitor, overview
from orchestrator.context import Context
from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.hostfacts import Gpu, Machine
from orchestrator.core.layout import Layout
from orchestrator.core.runfacts import RunFacts, RunRecord
from orchestrator.errors import Exit, Unreachable
from orchestrator.onhost import helper, processes
from orchestrator.settings_files import Setting
from orchestrator.store import CachedRun, Store
from orchestrator.view import overview as view
from orchestrator.view.overview import LiveRun
from orchestrator.view.overview_screen import Picture
from orchestrator.view.status import RunReport
from tests.rigs.odd_runs import complete
from tests.support import Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"
OTHER = "other-20261121T101113-1a2b"
EVENT = '{"event": "progress", "step": 4, "of": 8, "loss": 0.5}'


def facts(run_id: str = RUN, going: bool = True, **more: Any) -> dict[str, Any]:
    end = {} if going else {"ended": 5.0, "exit_code": 0, "reason": "exit"}
    state = {"started": 1.0, **end}
    return {
        "id": run_id,
        "run": {"created": 1.0},
        "state": state,
        "supervised": going,
        "events": [EVENT],
        **more,
    }


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def status(*runs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"runs": list(runs), "hostname": "box", "gpus": [], **more}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watch(client: Client, answers: list[Any], **more: Any) -> tuple[Context, ScriptedHost]:
    clock = Clock()
    ctx = client.context(now=lambda: clock.now, sleep=clock.sleep, **more)
    read = {"text": EVENT + "\n", "offset": 9}
    host = ScriptedHost({"status": answers, "read_events": read, "read_log_events": read})
    monitor.watch(ctx, host, RunFacts(id=RUN, supervised=True), 2.0)
    return ctx, host


def test_a_dropped_connection_is_shown_with_its_beginning(client: Client) -> None:
    gone = Unreachable("the connection was lost", "reset")
    ctx, _ = watch(client, [status(facts()), gone, gone, status(facts()), status(facts(going=False))])
    lines = ctx.stdout.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4
    assert "no answer from scripted since" in lines[1]
    assert "the connection was lost" in lines[1]
    assert "no answer" not in lines[2]
    assert "succeeded" in lines[3]


def test_a_script_is_not_kept_waiting_for_a_host_for_ever(client: Client) -> None:
    with pytest.raises(Unreachable):
        watch(client, [status(facts()), Unreachable("gone", "")])
    with pytest.raises(Unreachable):
        watch(client, [status(facts()), Unreachable("gone", "")], json=True)


def test_the_curves_come_from_the_log_where_the_values_do(client: Client) -> None:
    taken = {"from_log": [{"what": "loss", "format": "pairs", "line": "step=4 loss=0.5"}]}
    _, host = watch(client, [status(facts(**taken)), status(facts(going=False))])
    assert [op for op, _ in host.requests if op.startswith("read")] == ["read_log_events", "read_events"]


def test_all_live_runs_are_printed_until_they_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    ctx = client.context(now=lambda: clock.now)
    both = status(facts(), facts(OTHER))
    host = ScriptedHost({"status": [both, both, status(facts(OTHER)), status()]})
    store = Store(ctx.state_dir)
    for run in (RUN, OTHER):
        state = {"started": 1.0}
        record = RunFacts(id=run, supervised=True)
        assert state
        store.save_run(CachedRun("local", 1.0, record))

    class Target:
        @contextlib.contextmanager
        def connect(self) -> Iterator[ScriptedHost]:
            yield host

    monkeypatch.setattr(registry, "target", lambda ctx, settings, label: Target())
    settings = {"target": Setting("local", "default"), "region": Setting("r", "default")}
    assert overview.overview(ctx, store, settings, 0.01) == Exit.DONE
    out = ctx.stdout.getvalue()  # type: ignore[attr-defined]
    assert f"{RUN}  running" in out
    assert f"{OTHER}  running" in out
    assert "step 4/8 (50 %)" in out


def live(count: int) -> list[LiveRun]:
    events = ev.parse([EVENT, '{"event": "metrics", "split": "val", "values": {"loss": 1, "macro_f1": 0.5}}'])
    machine = Machine(gpus=(Gpu(index=0, use_percent=87),))
    state = runstate.Running(4, 8, 0.0, 3720.0, 1)
    return [
        LiveRun(
            RunReport(RunFacts(id=f"train-{n}-20261121T101112-1a2b", events=events), state, "gpu1"),
            machine,
            1.006,
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_row_of_the_overview_fits_and_keeps_what_matters(width: int) -> None:
    rows = view.table(live(12), width)
    for row in rows:
        assert sum(len(cell) for cell in row) + 2 * len(row) <= width
    assert rows[1][:2] == ["1", "train-0-20261121T101112-1a2b"]
    assert "50 %" in rows[1]
    assert "1 h 02 min" in rows[1]
    if width >= 80:
        assert "0.5" in rows[1]
    if width == 160:
        assert rows[1][2:] == [
            "█████░░░░░",
            "50 %",
            "0.5",
            "macro_f1 0.5",
            "1 h 02 min",
            "87 %",
            "1.01",
            "gpu1",
        ]


def test_a_long_name_of_a_job_gives_way_to_the_loss() -> None:
    one, two = live(2)
    jobs = ("a-job-with-a-rather-long-name-of-40-cells", "b")
    named, other = (
        replace(run, report=replace(run.report, facts=replace(run.report.facts, record=RunRecord(job=job))))
        for run, job in zip((one, two), jobs, strict=True)
    )
    rows = view.table([named, other], 50)
    assert rows[0] == ["", "run", "progress", "loss", "left"]
    assert rows[1][1].startswith("a-job-with-a-r")
    assert sum(len(cell) for cell in rows[1]) + 2 * len(rows[1]) <= 50


def test_a_run_that_counts_within_epochs_is_not_shown_as_done() -> None:
    progress = {"event": "progress", "step": 8, "of": 8, "of_epoch": True, "epoch": 2}
    facts = RunFacts(id=RUN, events=ev.parse([progress]))
    report = RunReport(facts, runstate.Running(8, 8, 0.0, None, 1), "gpu1")
    row = view.table([LiveRun(report, Machine())], 160)[1]
    assert "100 % of epoch 2" in row
    assert not any("█" in cell for cell in row)
    facts = RunFacts(id=RUN, events=ev.parse([{"event": "progress", "epoch": 0.35}]))
    report = RunReport(facts, runstate.Running(None, None, 0.0, None, 1), "gpu1")
    assert "epoch 0.35" in view.table([LiveRun(report, Machine())], 160)[1]


@pytest.mark.parametrize("width", [20, 30, 40, 50, 60])
def test_the_last_line_of_the_overview_is_never_cut(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=9, force_terminal=True)
    with new_client() as client:
        picture = Picture(client.context(), False, console)
        picture.show(live(2), {}, 0)
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    assert lines[-1].startswith("2 live runs")
    assert "…" not in lines[-1]


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (160, 48)])
def test_the_overview_fills_the_terminal_and_no_more(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    with new_client() as client:
        picture = Picture(client.context(), False, console)
        picture.show(live(60), {"gpu2": view.outage("gpu2", 1.0, "timed out")}, 59)
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert any(line.startswith("60 ") for line in lines)
    assert any("no answer from gpu2 since" in line for line in lines)
    assert "60 live runs" in lines[-1]


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_an_interval_that_is_no_time_is_refused(client: Client, seconds: str) -> None:
    result = client.run("monitor", RUN, "--interval", seconds)
    assert (result.code, "--interval" in result.err) == (2, True)


def bytes_read() -> int:
    """Return how many bytes this process has read so far, from files and pipes alike."""
    return int(Path("/proc/self/io").read_text().splitlines()[0].split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/io")
def test_a_refresh_reads_what_is_new_of_a_million_events_and_a_long_log(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "snapshot", lambda: processes.Snapshot({}, {}))
    folder = complete(tmp_path / "runs" / RUN)
    line = b'{"event": "progress", "step": 3, "of": 9, "loss": 0.5}\n'
    with (folder / "events.jsonl").open("wb") as events, (folder / "log").open("wb") as log:
        for _ in range(1000):
            events.write(line * 1000)
            log.write(b"a line of the log\n" * 1000)

    class OnThisMachine(ScriptedHost):
        def ask(self, op: str, **fields: Any) -> dict[str, Any]:
            reply = helper.answer(Layout(str(tmp_path)), {"id": 1, "op": op, **fields})
            return json.loads(json.dumps(reply["answer"]))  # type: ignore[no-any-return]

    reader = monitor._Reader(client.context(), OnThisMachine({}), RunFacts(id=RUN))
    reader.read(40)
    read, memory = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in range(5):
        with (folder / "events.jsonl").open("ab") as events:
            events.write(line.replace(b"3", b"%d" % step) * 10)
        before = bytes_read()
        reader.read(40)
        read.append(bytes_read() - before)
    assert max(read) < 3 << 19  # the last MiB of the events, and the end of the log
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 20 << 10
    assert reader.report.facts.events[-1].step == 4  # type: ignore[union-attr]
