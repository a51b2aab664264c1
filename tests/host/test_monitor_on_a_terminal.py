"""`gpujob monitor` without a run, on a real terminal: keys, another size, Ctrl-C, and a lost connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.host.chaos import Line
from tests.rigs import terminal
from tests.rigs.terminal import Screen
from tests.support import GPUJOB, Client

TRAIN = """
import time
for step in range(1, 100000):
    print(f"step {step}/100000 loss {1 / step:.4f}", flush=True)
    time.sleep(0.5)
"""
MONITOR = [*GPUJOB, "monitor", "--interval", "0.3"]


def start_two(client: Client, *words: str) -> None:
    for name in ("first", "second"):
        client.job(TRAIN, name)
        result = client.run("deploy", name, "--share-gpu", *words)
        assert result.code == 0, result.err


@pytest.fixture
def screen(client: Client) -> Iterator[Screen]:
    start_two(client)
    with terminal.screen(client.home / "screen", MONITOR, client.env, client.project) as opened:
        yield opened


def lines_start_with(text: str, *starts: str) -> bool:
    return all(any(line.startswith(start) for line in text.splitlines()) for start in starts)


def test_monitor_follows_keys_and_sizes_and_leaves_the_terminal_as_it_was(screen: Screen) -> None:
    text = screen.shows("2 live runs", " % ")
    assert lines_start_with(text, "1  first", "2  second")
    screen.press("2")
    screen.shows("second-2", "any key returns to all runs", "train loss", "log ──")
    screen.press("x")
    screen.shows("2 live runs", "1  first")
    screen.press("Up", "Enter")
    screen.shows("first-2", "any key returns")
    for width, height in ((60, 18), (150, 40)):
        screen.resize(width, height)
        rule = "log " + "─" * (width - 4)
        text = screen.shows(rule, "any key returns")
        assert rule in text.splitlines()
        assert text.rstrip("\n").count("\n") == height - 1
    screen.press("Space")
    screen.shows("2 live runs")
    screen.press("C-c")
    text = screen.shows("exit=130", "icanon")
    assert "the runs go on; next:" in text
    assert "-icanon" not in text, "keys are still read one by one"
    assert "-echo" not in text, "what is typed is not shown"


def test_monitor_says_since_when_a_host_does_not_answer_and_goes_on(line: Line) -> None:
    client = line.client
    start_two(client, "--on", "gpu")
    with terminal.screen(client.home / "screen", MONITOR, client.env, client.project) as screen:
        screen.shows("2 live runs", " % ")
        line.proxy.refuse()
        line.proxy.cut()
        text = screen.shows("no answer from gpu since", "no answer", "2 live runs")
        assert lines_start_with(text, "1  first", "2  second")
        screen.press("1")
        screen.shows("first-2", "no answer from gpu since", "any key returns")
        line.proxy.accept()
        screen.shows("first-2", "train loss")  # which only the host's answer has
        assert "no answer" not in screen.text
        screen.press("q")
        screen.shows("2 live runs")
        screen.press("q")
        screen.shows("exit=130")
