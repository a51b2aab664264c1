"""`gpujob stop`: what it asks before it deletes, and what it says a run left."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Client, ScriptedHost
from tests.unit.commands.scripted import SEEN, client, scripted, type_in

__all__ = ["client"]

MODEL = {
    "files": 2,
    "bytes": 3 << 30,
    "unfetched": {"files": 1, "bytes": 2 << 30, "largest": ["checkpoints/m.pt"]},
}
OTHERS = {"files": 1, "bytes": 5, "unfetched": {"files": 1, "bytes": 5, "largest": ["work/new.csv"]}}
FETCHED = {"files": 1, "bytes": 5, "unfetched": {"files": 0, "bytes": 0, "largest": []}}
RUN = SEEN["id"]


def ended(client: Client, written: dict[str, Any], **answers: Any) -> ScriptedHost:
    run = {**SEEN, "run": {"job": "x", "who": client.context().who}, "supervised": False, "pids": []}
    stopped = {"was_running": False, "remaining": [], "run": run, "written": written}
    clean = {"removed": ["/r/work"], "left": []}
    return scripted(status={"runs": [run]}, stop=stopped, written=written, clean=clean, **answers)


def test_a_stop_says_which_files_of_any_format_were_never_fetched(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = type_in(client, ended(client, {"checkpoints": MODEL}), "stop", RUN, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    assert "checkpoints/ and outputs hold 2 files (3.0 GiB), 1 of them (2.0 GiB) never fetched" in result.out
    as_json = type_in(
        client, ended(client, {"checkpoints": MODEL}), "stop", RUN, "--json", monkeypatch=monkeypatch
    )
    assert as_json.json["written"]["checkpoints"]["unfetched"]["largest"] == ["checkpoints/m.pt"]
    assert as_json.json["written"]["outputs"]["files"] == 0


def test_purge_names_what_was_never_fetched_before_it_asks(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ended(client, {"checkpoints": MODEL, "others": OTHERS})
    result = type_in(client, host, "stop", RUN, "--purge", monkeypatch=monkeypatch)
    assert result.code == 7
    assert (
        "3 files (3.0 GiB), 2 of them (2.0 GiB) never fetched: checkpoints/m.pt, work/new.csv" in result.err
    )
    assert "clean" not in [op for op, _ in host.requests]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ({"outputs": FETCHED}, 0),
        ({"checkpoints": MODEL}, 0),
        ({"others": OTHERS}, 7),
        ({"outputs": OTHERS}, 7),
    ],
)
def test_clean_asks_only_if_a_file_in_the_working_folder_was_never_fetched(
    client: Client, monkeypatch: pytest.MonkeyPatch, written: dict[str, Any], code: int
) -> None:
    assert (
        type_in(client, ended(client, written), "stop", RUN, "--clean", monkeypatch=monkeypatch).code == code
    )


def test_a_purge_that_left_files_names_them_and_fails(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ended(client, {})
    host.answers["clean"] = {"removed": [], "left": ["/r/work/a b: Operation not permitted"]}
    result = type_in(client, host, "stop", RUN, "--purge", "--yes", monkeypatch=monkeypatch)
    assert (result.code, "/r/work/a b: Operation not permitted" in result.err) == (1, True)
    assert "sudo rm -r '/r/work/a b'" in result.err
    assert client.run("status", "--cached", "--json").json["runs"] != []


AWAY = {**SEEN, "supervised": False, "pids": [], "elsewhere": "node-a", "run": {"job": "x"}}


@pytest.mark.parametrize(
    "words", [("stop", RUN), ("stop", RUN, "--purge", "--yes"), ("deploy", "--resume", RUN)]
)
def test_a_run_on_another_machine_is_left_alone_and_the_machine_is_named(
    client: Client, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    host = scripted(status={"runs": [AWAY]})
    result = type_in(client, host, *words, monkeypatch=monkeypatch)
    assert (result.code, f"on node-a: gpujob stop {RUN}" in result.err) == (1, True), result.err
    assert {op for op, _ in host.requests} == {"status"}
    shown = type_in(client, host, "status", "--on", "scripted", monkeypatch=monkeypatch)
    assert "elsewhere" in shown.out
    assert "alive on node-a" in shown.out


def test_a_process_that_could_not_be_ended_is_named_with_its_user(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = {**SEEN, "run": {"job": "x", "who": client.context().who}}
    left = [{"pid": 77, "user": "root", "command": "sleep 1000"}]
    stop = {"was_running": True, "remaining": [77], "processes": left, "run": mine}
    result = type_in(client, scripted(status={"runs": [mine]}, stop=stop), "stop", monkeypatch=monkeypatch)
    assert result.code == 1
    assert "pids 77: pid 77 of root (sleep 1000)" in result.err
    assert f"next: sudo kill -9 77, then gpujob stop {RUN}" in result.err


def test_a_stop_says_so_if_the_processes_of_others_are_hidden(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ended(client, {})
    host.answers["stop"]["sees_all"] = False
    result = type_in(client, host, "stop", RUN, monkeypatch=monkeypatch)
    assert "no process is left of this user; the host hides the processes of others" in result.out


def test_a_run_that_ended_with_processes_left_shows_them_and_is_not_resumed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {
        **SEEN,
        "supervised": False,
        "state": {"ended": 2.0, "reason": "hours"},
        "pids": [77],
        "run": {"job": "x"},
    }
    host = scripted(status={"runs": [run]})
    assert (
        "1 process left" in type_in(client, host, "status", "--on", "scripted", monkeypatch=monkeypatch).out
    )
    refused = type_in(client, host, "deploy", "--resume", RUN, monkeypatch=monkeypatch)
    assert (refused.code, "pids 77" in refused.err) == (1, True)


def test_a_resume_asks_if_the_run_was_last_on_another_machine(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {**SEEN, "supervised": False, "pids": [], "last_host": "node-a", "run": {"job": "x"}}
    host = scripted(status={"runs": [run]})
    result = type_in(client, host, "deploy", "--resume", RUN, monkeypatch=monkeypatch)
    assert (result.code, "last ran on node-a" in result.err) == (7, True)
    assert type_in(client, host, "deploy", "--resume", RUN, "--yes", monkeypatch=monkeypatch).code == 0


@pytest.mark.parametrize("words", [(), ("--clean",), ("--purge", "--yes"), ("--json",)])
def test_a_stop_of_a_run_whose_folder_was_removed_succeeds(
    client: Client, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    host = scripted(status={"runs": [{**SEEN, "supervised": True, "pids": [77], "run": {"job": "x"}}]})
    assert type_in(client, host, "status", monkeypatch=monkeypatch).code == 0
    host.answers["status"] = {"runs": []}
    result = type_in(client, host, "stop", RUN, *words, monkeypatch=monkeypatch)
    assert result.code == 0, result.err
    if words == ("--json",):
        assert (result.json["was_going"], result.json["removed"]) == (False, [])
    else:
        assert "any more, and no process is left" in result.out
    again = type_in(client, host, "stop", RUN, *words, monkeypatch=monkeypatch)
    assert again.code == 3, "a run that nobody knows may be a slip of the keys"
