import io
import re
import sys

import msgspec
import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.history import History
from orchestrator.core.hostfacts import Gpu, Machine
from orchestrator.core.runfacts import Log, RunFacts
from orchestrator.view import live
from orchestrator.view.console import condense
from orchestrator.view.dashboard import Surroundings, open_screen
from orchestrator.view.live import Picture
from orchestrator.view.status import RunReport
from tests.support import new_client


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def picture(losses: list[float]) -> tuple[RunReport, History, Machine]:
    """Return a live run with one progress event for each loss."""
    events = ev.parse(
        {"event": "progress", "step": step, "of": 9, "loss": loss} for step, loss in enumerate(losses)
    )
    state = runstate.Running(step=2, of=9, since=0.0, eta=None, attempt=1)
    return RunReport(RunFacts(id="job-1"), state), History(events), Machine(hostname="box", gpus=())


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ([2.0, 1.0, 1.5], "train loss  1.5  best 1  1 to 2  █+▁+▄+$"),
        ([2.0, 1.0, float("nan")], "train loss  nan  best 1  1 to 2, 1 not finite  █+▁+×+$"),
        ([2.0, float("inf"), 1.0], "train loss  1  best 1  1 to 2, 1 not finite  █+×+▁+$"),
        ([float("nan")] * 2, "train loss  nan  2 not finite  ×+$"),
    ],
)
def test_a_training_that_diverges_stays_on_the_screen_and_shows_it(
    losses: list[float], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with (
        new_client() as client,
        open_screen(client.context(stdout=out, env={"TERM": "xterm", "NO_COLOR": "1"})) as screen,
    ):
        screen.show(*picture(losses))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).replace("\r", "")
    assert re.search(line, shown, re.MULTILINE)


NAMES = ("accuracy", "a_metric_with_a_name_longer_than_most_screens_of_a_phone_have_columns", "字幕誤り率")
LOSSES = [12345.678, 1.5e-9, 0.25]
LOG = tuple(
    f"line {n} of a log that is longer than sixty columns, with 1234567 samples a second" for n in range(9)
)


def page(width: int, height: int, metrics: int = 3, log: tuple[str, ...] = LOG) -> str:
    """Return what a terminal of that size shows of a run with these metrics."""
    values = [{f"{NAMES[n % 3]}{n // 3 or ''}": loss * (n + 1) for n in range(metrics)} for loss in LOSSES]
    sent = [{"event": "metrics", "split": "val", "values": each} for each in values]
    sent += [{"event": "progress", "step": 123456, "of": 654321, "loss": 2.0, "epoch": 1.5}]
    events = ev.parse(sent)
    facts = RunFacts(id="train-20261126T032043-e895", events=events, log=Log(tail=log))
    report = RunReport(facts, runstate.fold(msgspec.structs.replace(facts, supervised=True), 9.0))
    gpus = (Gpu(index=0, use_percent=87, used_mib=12000, total_mib=24000),) * 4
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    with new_client() as client:
        picture = Picture(client.context(now=lambda: 9.0), console)
        picture.show(report, History(events), Machine(hostname="box", gpus=gpus))
    shown = console.render_lines(picture.page, pad=False)
    return "\n".join("".join(segment.text for segment in line) for line in shown)


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_number_is_cut_at_any_width(width: int) -> None:
    text = page(width, 60)
    lines = text.splitlines()
    assert max(cell_len(line) for line in lines) <= width
    for number in ("0.25", "0.5", "0.75", "123456/654321", "87 %", "12000/24000", "1234567"):
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", " ".join(text.split())), text
    assert "█" in text


def test_the_curve_fills_the_width_that_the_values_leave() -> None:
    console = Console(file=io.StringIO(), width=160, height=50, force_terminal=True, no_color=True)
    events = ev.parse({"event": "progress", "step": n, "of": 900, "loss": float(n)} for n in range(900))
    facts = RunFacts(id="job-1", events=events)
    with new_client() as client:
        picture = Picture(client.context(), console)
        picture.show(RunReport(facts, runstate.Running(1, 900, 0.0, None, 1)), History(events), Machine())
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    assert [len(line) for line in lines if "▁" in line] == [160]


@pytest.mark.parametrize("height", [8, 14, 24, 50])
@pytest.mark.parametrize("metrics", [1, 40])
def test_the_screen_is_as_high_as_the_terminal(height: int, metrics: int) -> None:
    lines = page(80, height, metrics).splitlines()
    assert len(lines) == height
    assert lines[-1] == "Ctrl-C leaves the run going"
    assert lines[0].startswith("train-20261126T032043-e895")
    if metrics == 40 and height < 40:
        assert re.search(r"and \d+ more metrics", "\n".join(lines))


def test_metrics_without_room_are_not_laid_out_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []
    real = live._metrics
    monkeypatch.setattr(
        live, "_metrics", lambda curves, width: shown.append(len(curves)) or real(curves, width)
    )
    assert "more metrics" in page(160, 14, 300)
    assert max(shown) < 14
    assert len(shown) < 5


def test_a_line_of_the_log_that_is_wrapped_is_shown_whole() -> None:
    lines = page(60, 16, 1).splitlines()
    first = lines[[line.startswith("log") for line in lines].index(True) + 1]
    assert first.startswith("line "), first


def test_the_values_of_a_gpu_stay_whole_on_a_narrow_screen() -> None:
    console = Console(file=io.StringIO(), width=44, height=24, force_terminal=True, no_color=True)
    use = {"use_percent": 87, "used_mib": 12000, "total_mib": 81559}
    gpu = Gpu(index=0, name="NVIDIA H100 80GB HBM3", celsius=60, watts=350, watts_limit=700, **use)
    with new_client() as client:
        picture = Picture(client.context(), console)
        report = RunReport(RunFacts(id="job-1"), runstate.Running(1, 9, 0.0, None, 1))
        picture.show(report, History(), Machine(gpus=(gpu,)))
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    shown = [line for line in lines if "GPU" in line or "MiB" in line]
    assert shown == ["GPU 0 NVIDIA H100 80GB HBM3  87 %", "12000/81559 MiB  350/700 W  60 °C"]


def test_the_time_left_is_never_broken_in_two() -> None:
    console = Console(file=io.StringIO(), width=44, height=12, force_terminal=True, no_color=True)
    facts = RunFacts(id="train-20261126T032043-e895")
    with new_client() as client:
        picture = Picture(client.context(now=lambda: 90.0), console)
        picture.show(RunReport(facts, runstate.Running(1, 9, 0.0, 125.0, 1)), History(), Machine())
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    assert lines[:2] == ["train-20261126T032043-e895  running", "1 min 30 s, 2 min 05 s left"]


def test_a_test_that_is_measured_again_and_again_is_a_curve() -> None:
    tested = [{"event": "metrics", "split": "test", "values": {"loss": loss}} for loss in (2.0, 1.0)]
    assert History(ev.parse(tested[:1])).curves() == []
    [(name, series)] = History(ev.parse(tested)).curves()
    assert (name, series.values) == ("test loss", [2.0, 1.0])


def test_a_narrow_curve_shows_the_mean_of_all_its_values() -> None:
    assert condense([1, 3, 5, 7], 2) == [2, 6]
    assert condense([1, 2], 8) == [1, 2]
    assert condense([1.0, float("inf"), 5, 7], 2) == [float("inf"), 6]
    assert condense([sys.float_info.max] * 4, 2) == [sys.float_info.max] * 2


def test_each_gpu_is_shown_with_its_last_minutes_and_the_money_above() -> None:
    gpus = [
        Gpu(
            index=0,
            name="NVIDIA L4",
            use_percent=use,
            used_mib=9000,
            total_mib=23034,
            celsius=61,
            uuid="a",
            watts=55,
        )
        for use in (0, 100, 50)
    ]
    warned = ev.parse([{"event": "warning", "message": "attempt 1 ended with exit code 1"}])
    facts = RunFacts(id="job-1", events=warned, log=Log(tail=("a line",)))
    console = Console(file=io.StringIO(), width=100, height=30, force_terminal=True, no_color=True)
    with new_client() as client:
        picture = Picture(client.context(), console)
        for gpu in gpus:
            beside = Surroundings("$0.42 so far, $0.805/h", "no answer from gpu1 since 12:00:00: reset")
            report = RunReport(facts, runstate.Running(1, 9, 0.0, None, 1))
            picture.show(report, History(), Machine(gpus=(gpu,)), replace(beside, outage=""))
        picture.show(report, History(), Machine(gpus=(gpu,)), beside)
    lines = ["".join(s.text for s in line) for line in console.render_lines(picture.page, pad=False)]
    assert "GPU 0 NVIDIA L4  50 %  9000/23034 MiB  55/? W  61 °C  ▁█▄" in lines
    assert lines[2:4] == ["no answer from gpu1 since 12:00:00: reset", "$0.42 so far, $0.805/h"]
    assert "warning: attempt 1 ended with exit code 1" in lines
