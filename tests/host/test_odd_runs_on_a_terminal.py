"""Commands about a run whose files were mutated, in processes with limits, on a real pseudo-terminal."""

from __future__ import annotations

import contextlib
import json
import random
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.onhost import processes
from tests.rigs import terminal
from tests.rigs.odd_runs import complete
from tests.rigs.patience import PATIENCE, wait_until
from tests.support import GPUJOB, Client
from tests.unit.test_mutations import EVENTS, mutated

TOGETHER = 10  # mutated runs in one root folder, each of which every command about another one meets
FILES = ("run.json", "state.json", "events.jsonl", "log", "checkpoints/best", "checkpoints/12/manifest.json")
HOSTILE = b"\x1b]52;c;cm0=\x07\x1b[2J\x1bc\x9b7;7H\0\x08\xe2\x80\xaeword\rx\n"
CPU_SECONDS, MEMORY = 2, 150 << 20  # of the client and of the helper each
UNFILTERED = re.compile(
    r"\x1b[^\[]|\x1b\[[0-9;?]*[^0-9;?mK]|[\x00-\x07\x08\x0b\x0c\x0e-\x1a\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)

_OF_THE_SCREEN = re.compile(r"\x1b\[\?(?:1049|25)[hl]|\x1b\[H")


def limited() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that were started in the background ignore Ctrl-C
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def start(client: Client, words: tuple[str, ...], its_terminal: int) -> subprocess.Popen[bytes]:
    """Start a command within the limits, on this terminal."""
    return subprocess.Popen(
        [*GPUJOB, *words],
        cwd=client.project,
        env={**client.env, "TERM": "xterm-256color"},
        stdin=its_terminal,
        stdout=its_terminal,
        stderr=its_terminal,
        preexec_fn=limited,
        start_new_session=True,
    )


def about(run: str) -> tuple[tuple[str, ...], ...]:
    """The commands about one run."""
    return (
        ("status", run),
        ("monitor", run, "--stream"),
        ("stop", run),
        ("fetch", run, "--to", run),
        ("verify", run),
    )


def on_a_terminal(client: Client, words: tuple[str, ...]) -> tuple[int, str]:
    """Run a command within the limits; return its exit code and what the terminal received."""
    with terminal.recorded() as (theirs, received):
        process = start(client, words, theirs)
        if "--stream" in words:
            interrupt_at_the_end(process, client.folder(words[1]) / "log", received)
        code = process.wait(PATIENCE)
    return code, b"".join(received).decode("utf-8", "replace")


def interrupt_at_the_end(process: subprocess.Popen[bytes], log: Path, received: Sequence[bytes]) -> None:
    """Interrupt a stream that goes on after the end of the log: some runs do not say that they ended."""
    end = b"the last line"
    with log.open("ab") as file:
        file.write(b"\n" + end + b"\n")
    wait_until(lambda: process.poll() is not None or end in b"".join(received), "the end of the log")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
        return
    process.send_signal(signal.SIGINT)


def interrupted(client: Client, words: tuple[str, ...], mark: bytes) -> tuple[int, str]:
    """Run a screen that stays until it was drawn twice, then press Ctrl-C; as `on_a_terminal`."""
    with terminal.recorded() as (theirs, received):
        process = start(client, (*words, "--interval", "0.2"), theirs)
        wait_until(lambda: b"".join(received).count(mark) > 1 or process.poll() is not None, "two frames")
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
    return code, b"".join(received).decode("utf-8", "replace")


def require_harmless(client: Client, what: object, commands: Sequence[tuple[str, ...]]) -> None:
    for words in commands:
        code, text = on_a_terminal(client, words)
        assert code >= 0, (what, words, code, text[-500:])
        if words[0] == "monitor":  # it rings once: the run has ended
            text = text.replace("\a", "", 1)
        assert not UNFILTERED.search(text), (what, words, UNFILTERED.search(text), text[-2000:])
        assert "gpujob itself failed" not in text, (what, words, text[-2000:])


def mutate(folder: Path, chance: random.Random) -> None:
    """Write a run whose log is hostile, and change three of its files."""
    complete(folder)
    (folder / "events.jsonl").write_bytes(EVENTS)
    (folder / "checkpoints/12/manifest.json").write_text('{"v": 1, "files": {}, "metrics": {"f1": 0.5}}')
    (folder / "log").write_bytes(HOSTILE * chance.randint(1, 40))
    for name in chance.sample(FILES, 3):
        (folder / name).write_bytes(mutated((folder / name).read_bytes(), chance))


def test_a_mutated_run_neither_controls_the_terminal_nor_exceeds_limits(
    client: Client, trials: Callable[[int, int], int]
) -> None:
    for first in range(0, total := trials(1, 200), TOGETHER):
        seeds = range(first, min(first + TOGETHER, total))
        names = {f"job-20261121T101112-{seed:04x}": seed for seed in seeds}
        for name, seed in names.items():
            mutate(client.root / "runs" / name, random.Random(seed))
        require_harmless(client, seeds, [("status",)])
        for name, seed in names.items():
            require_harmless(client, seed, about(name))
        for used in (client.root, client.project, client.state_dir):
            shutil.rmtree(used)
        client.project.mkdir()


@pytest.fixture
def supervisor() -> Iterator[int]:
    """A process that lives until the end of the test."""
    with subprocess.Popen(["sleep", "3600"]) as process:
        yield process.pid
        process.kill()


def live(client: Client, number: int, supervisor: int, chance: random.Random) -> None:
    """A run with this supervisor, and with a hostile name, log and events."""
    folder = complete(client.root / "runs" / f"job-2026112{number}T101112-1a2b")
    record, state = (json.loads((folder / name).read_text()) for name in ("run.json", "state.json"))
    record.update(job="\x1b[2Jjob\u202e\x9b7;7H", who="\x1b]0;t\x07")
    state.update(supervisor=processes.identity(supervisor), boot=processes.boot(), ended=None)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "log").write_bytes(HOSTILE * 9)
    name = "\x1b[2Jf1\u202e\x07"
    metrics = {"event": "metrics", "split": "val", "values": {name: 0.5}}
    (folder / "events.jsonl").write_bytes(mutated(EVENTS, chance) + b"\n" + json.dumps(metrics).encode())


def test_the_live_screens_of_hostile_runs_do_not_control_the_terminal(
    client: Client, supervisor: int, trials: Callable[[int, int], int]
) -> None:
    for seed in range(trials(1, 50)):
        shutil.rmtree(client.root / "runs", ignore_errors=True)
        for number in (1, 2):
            live(client, number, supervisor, random.Random(seed + number))
        for words, mark in ((("monitor",), b"2 live runs"), (("monitor", "job-20261121"), b"Ctrl-C leaves")):
            code, text = interrupted(client, words, mark)
            text = _OF_THE_SCREEN.sub("", text)
            assert code == 130, (seed, words, text[-2000:])
            assert not UNFILTERED.search(text), (seed, words, UNFILTERED.search(text))


def test_a_large_run_is_answered_within_the_limits(client: Client, trials: Callable[[int, int], int]) -> None:
    if not trials(0, 1):
        pytest.skip("in `make test-full`: 75 MB of log and a million events")
    run = "job-20261121T101112-1a2b"
    folder = complete(client.root / "runs" / run)
    (folder / "log").write_bytes(HOSTILE * (75_000_000 // len(HOSTILE)))
    line = b'{"v": 1, "t": %d.0, "event": "progress", "step": %d, "of": 1000000, "loss": 0.5}\n'
    (folder / "events.jsonl").write_bytes(b"".join(line % (n, n) for n in range(1_000_000)))
    # --stream prints all of the log, and takes as long as that takes.
    commands = [words for words in about(run) if "--stream" not in words]
    require_harmless(client, "large", [("status",), *commands])
