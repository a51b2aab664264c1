"""The contract of every target. To test a new target, add it to TARGETS."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import registry, settings_files, source
from orchestrator.errors import NotFound
from orchestrator.onhost import folders
from orchestrator.targets import helper
from orchestrator.targets.base import Host, Refused
from tests.host import add_a_target
from tests.host.machines import log_in_to, new_machine
from tests.support import Client, new_client

TARGETS = ["local", "folder", *(pytest.param(name, marks=pytest.mark.sshd) for name in ("ssh", "openssh"))]
RUN = "job-20261121T101112-1a2b"
MARK = f"c0ffee{os.getpid():026x}"  # `stop` ends every process with it, those of other tests too


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """The client of all tests of this file: connecting takes more time than most of them."""
    with new_client() as client:
        yield client


@pytest.fixture
def client(shared: Client) -> Iterator[Client]:
    yield shared
    empty(shared.project)


@pytest.fixture(scope="module", params=TARGETS)
def connected_host(request: pytest.FixtureRequest, shared: Client) -> Iterator[Host]:
    """`ssh` uses fabric and paramiko, `openssh` the ssh program with a ControlMaster.

    `folder` is the target that docs/add-a-target.md builds.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.param in ("local", "folder"):
            add_a_target.install(patch)
            yield from connected(shared, "local" if request.param == "local" else f"folder:{shared.root}")
            return
        with new_machine(shared, request.param) as machine:
            more = "  CertificateFile /none\n" if request.param == "openssh" else ""
            log_in_to(shared, machine, more, name=request.param)
            yield from connected(shared, request.param)


@pytest.fixture
def host(connected_host: Host) -> Iterator[Host]:
    """A connected host without a run, code or data."""
    yield connected_host
    for run in connected_host.ask("status", lines=0)["runs"]:
        connected_host.ask("stop", run=run["id"], by="the test", now=True)
        connected_host.ask("clean", run=run["id"], purge=True)
    root = Path(connected_host.tree_folder("x")).parent.parent
    for name in ("code", "data"):
        empty(root / name)
    assert connected_host.ask("status", lines=0)["runs"] == []


def empty(folder: Path) -> None:
    """Remove what is in a folder, read-only code too."""
    for path in folder.iterdir() if folder.exists() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def connected(client: Client, word: str) -> Iterator[Host]:
    ctx = client.context()
    with registry.target(ctx, settings_files.load(ctx), word).connect() as host:
        yield host


def spec(**changes: object) -> dict[str, object]:
    return {
        "id": RUN,
        "job": "job",
        "mark": MARK,
        "created": 1.0,
        "argv": ["sh", "-c", "echo hi; sleep 60"],
        **changes,
    }


def test_all_facts_are_returned_by_one_request(host: Host) -> None:
    facts = host.ask("host_facts", trees=["none"], pythons=host.pythons())
    assert facts["tmux"].startswith("tmux ")
    assert facts["pythons"][0]["version"].startswith("3.")
    assert facts["trees"] == facts["live_runs"] == []
    assert isinstance(facts["gpus"], list)


def test_a_refusal_has_a_stable_kind(host: Host) -> None:
    with pytest.raises(Refused) as error:
        host.ask("dance")
    assert error.value.kind == "op"
    with pytest.raises(NotFound):
        host.ask("stop", run=RUN, by="me")


def test_a_code_tree_is_sent_once_and_is_complete_and_read_only(host: Host, client: Client) -> None:
    client.write("a b/é\n.py", "print(1)")
    client.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (client.project / "link").symlink_to("run.sh")
    tree = source.read(client.project)
    host.send_tree(tree)
    host.send_tree(tree)
    place = Path(host.tree_folder(tree.tree.hash))
    assert source.read(place).tree.hash == tree.tree.hash
    assert [p.name for p in place.parent.iterdir()] == [tree.tree.hash]
    assert not (place / "run.sh").stat().st_mode & 0o222
    assert host.ask("host_facts", trees=[tree.tree.hash])["trees"] == [tree.tree.hash]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_data_is_sent_completely_and_once(host: Host, client: Client, kind: str) -> None:
    """A local host uses the data in place, so nothing is copied."""
    source = client.write("sets/crema/a b/é.npz", "one").parent.parent
    client.write("sets/crema/two.npz", "two" * 1000)
    (source / "link.npz").symlink_to("two.npz")
    source = source / "two.npz" if kind == "file" else source
    fingerprint = folders.describe("crema", str(source), to_send=True).fingerprint
    place = Path(host.tree_folder("x")).parent.parent / "data" / "crema" / fingerprint
    before = helper.facts(host, [], uploads={"crema": fingerprint}).uploads
    assert not before["crema"].present
    moved: list[int] = []
    for _ in range(2):
        host.send_data("crema", fingerprint, source, moved.append)
    if host.is_local:
        assert not place.exists()
        return
    assert helper.facts(host, [], uploads={"crema": fingerprint}).uploads["crema"].present
    assert [path.name for path in place.parent.iterdir()] == [fingerprint]
    copies = {
        path.relative_to(place).as_posix(): path.read_text() for path in place.rglob("*") if path.is_file()
    }
    two = {"two.npz": "two" * 1000}
    assert copies == (two if kind == "file" else {"a b/é.npz": "one", "link.npz": "two" * 1000, **two})
    assert sum(moved) > 0


def test_data_that_changes_during_the_upload_is_refused(host: Host, client: Client) -> None:
    if host.is_local:
        pytest.skip("data of this machine is used in place")
    source = client.write("sets/crema/one.npz", "one").parent
    with pytest.raises(Refused) as error:
        host.send_data("crema", "0" * 32, source, lambda count: None)
    assert error.value.kind == "changed"
    assert not helper.facts(host, [], uploads={"crema": "0" * 32}).uploads["crema"].present


def test_a_command_runs_without_a_shell_and_its_lines_are_streamed(host: Host) -> None:
    lines: list[str] = []
    words = ["sh", "-c", 'printf "%s\\n" "$0" "$1" "$X"; cat; echo bad >&2; exit 7', "a b", "$(id)"]
    result = host.run(words, b"from stdin\n", {"X": "é"}, lines.append)
    assert lines == ["a b", "$(id)", "é", "from stdin"]
    assert (result.code, result.err) == (7, "bad\n")


def test_a_command_runs_in_the_given_folder(host: Host) -> None:
    lines: list[str] = []
    assert host.run(["pwd"], b"", {}, lines.append, cwd="/usr").code == 0
    assert lines == ["/usr"]


@pytest.mark.parametrize(("trainer", "below"), [(None, "/work"), ("facenet-lstm", "")])
def test_a_command_runs_in_the_code_folder_and_a_trainer_next_to_it(
    host: Host, trainer: str | None, below: str
) -> None:
    started = host.ask("start", spec=spec(argv=["pwd"], trainer=trainer), secrets={})
    shown = b"".join(host.follow(RUN, "log")).decode()
    assert shown == started["run"]["folder"] + below + "\n"


def test_a_run_is_started_listed_followed_and_stopped(host: Host) -> None:
    started = host.ask("start", spec=spec(), secrets={})
    assert started["started"]
    assert started["run"]["session"] == f"gpujob-{RUN}"
    again = host.ask("start", spec=spec(), secrets={})
    assert not again["started"]
    assert again["run"]["state"]["child"] == started["run"]["state"]["child"]
    blocks = host.follow(RUN, "log")
    assert next(block for block in blocks if block) == b"hi\n"
    stopped = host.ask("stop", run=RUN, by="me", now=True)
    assert (stopped["was_running"], stopped["remaining"]) == (True, [])
    assert b"".join(blocks) == b""
    assert host.ask("stop", run=RUN, by="me")["was_running"] is False


def test_a_second_start_of_a_live_job_is_refused_and_leaves_no_files(host: Host) -> None:
    host.ask("start", spec=spec(), secrets={})
    other = spec(id="job-20261121T101113-3c4d", mark=f"f00d{os.getpid():028x}")
    with pytest.raises(Refused, match="already running") as error:
        host.ask("start", spec=other, secrets={})
    assert (error.value.kind, error.value.details) == ("running", {"run": RUN})
    assert [entry["id"] for entry in host.ask("status", lines=0)["runs"]] == [RUN]
    host.ask("stop", run=RUN, by="me", now=True)
    assert host.ask("start", spec=other, secrets={})["started"]
    host.ask("stop", run=other["id"], by="me", now=True)


def test_staged_files_are_received_and_a_partial_transfer_continues(host: Host, tmp_path: Path) -> None:
    host.ask("start", spec=spec(argv=["sh", "-c", "printf 0123456789"]), secrets={})
    list(host.follow(RUN, "log"))
    staged = host.ask("stage", run=RUN, which="best")
    log = next(file for file in staged["files"] if file["path"] == "log")
    part = tmp_path / log["sha256"]
    part.write_bytes(b"01234")
    moved: list[int] = []
    host.receive(staged["folder"], [log["sha256"]], tmp_path, moved.append)
    assert part.read_bytes() == b"0123456789"
    assert log["bytes"] == 10


def test_attaching_returns_the_session_and_an_ended_run_has_none(host: Host) -> None:
    host.ask("start", spec=spec(), secrets={})
    words, _ = host.attach(RUN)
    assert f"attach-session -r -t =gpujob-{RUN}" in " ".join(words)
    host.ask("stop", run=RUN, by="me", now=True)
    with pytest.raises(NotFound):
        host.attach(RUN)


def typed_into(words: list[str], env: dict[str, str], line: bytes) -> bytes:
    """Run a command in a terminal, type a line, and return what the terminal shows."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb+", buffering=0) as terminal:
        command = subprocess.Popen(words, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        terminal.write(line)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while block := terminal.read(4096):
                shown += block
        command.wait(20)
    return shown


def test_a_shell_opens_in_the_folder_of_the_run_or_in_the_home(host: Host) -> None:
    host.ask("start", spec=spec(), secrets={})
    folder = Path(host.tree_folder("x")).parent.parent / "runs" / RUN
    words, env = host.shell(RUN)
    assert f"<{folder}>" in typed_into(words, env, b'echo "<$PWD>"; exit\n').decode()
    words, env = host.shell(None)
    assert b"<yes>" in typed_into(words, env, b'[ "$PWD" = ~ ] && echo "<""yes>"; exit\n')
    host.ask("stop", run=RUN, by="me", now=True)
