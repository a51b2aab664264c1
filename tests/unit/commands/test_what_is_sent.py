"""What deploy sends of code and data, and what it says before it sends anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Client, ScriptedHost, new_client
from tests.unit.commands.scripted import scripted, type_in


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


class RecordingHost(ScriptedHost):
    """Keeps the paths of each tree that is sent, and what was on stderr then."""

    def send_tree(self, source: Any) -> None:
        super().send_tree(source)
        self.paths = {entry.path for entry in source.tree.entries}


def recording() -> RecordingHost:
    return RecordingHost(scripted().answers)


def test_a_dry_run_names_the_credentials_that_are_not_sent(client: Client) -> None:
    client.job("print(1)")
    client.write(".netrc", "machine x password y")
    result = client.run("deploy", "job", "--dry-run")
    assert "note: not sent, since they look like credentials: .netrc" in result.out, result.err
    notes = client.run("deploy", "job", "--dry-run", "--json").json["plan"]["notes"]
    assert any(".netrc" in note for note in notes)


def test_a_dry_run_shows_the_command_as_the_job_file_has_it(client: Client) -> None:
    client.write("train.py", "print(1)")
    client.write(
        "job.yaml", "name: job\ncommand: |\n  python3 train.py --lr 0.1 |\n    tee out.txt\n  echo done\n"
    )
    result = client.run("deploy", "job", "--dry-run")
    script = "python3 train.py --lr 0.1 |\n          tee out.txt\n        echo done\n"
    assert f"  runs: {script}" in result.out, result.err


def test_a_deploy_warns_of_credentials_and_sends_none(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job("print(1)", exclude=["*.bin"])
    for name in (".ssh/id_rsa", "a.bin"):
        client.write(name, "x")
    host = recording()
    result = type_in(client, host, "deploy", "job", "--quiet", monkeypatch=monkeypatch)
    assert (result.code, host.paths) == (0, {"train.py", "job.yaml"}), result.err
    assert result.err.count("look like credentials: .ssh/") == 1
    spec = host.requests[-1][1]["spec"]
    assert spec["code"]["files"] == 2
    assert "notes" not in spec["code"]


def test_a_deploy_names_what_it_leaves_out_of_data(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png", "Thumbs.db"):
        client.write(f"pictures/{name}", "x")
    client.job("print(1)", data={"pictures": "pictures"})
    host = recording()
    monkeypatch.setattr(host, "is_local", False)
    result = type_in(client, host, "deploy", "job", "--quiet", monkeypatch=monkeypatch, remote=True)
    assert "data.pictures: what systems and programs leave in folders is not sent: " in result.err
    assert "._a.png, .ipynb_checkpoints, Thumbs.db and 1 more" in result.err
    assert host.requests[-1][1]["spec"]["data"]["pictures"]["files"] == 1


def test_output_redirected_into_the_code_folder_is_no_code(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job("print(1)")
    host = recording()
    with (client.project / "deploy.log").open("w") as log, (client.project / "err.log").open("w") as err:
        changes = {"stdout": log, "stderr": err}
        with pytest.raises(AttributeError):  # the result has no text to show
            type_in(client, host, "deploy", "job", monkeypatch=monkeypatch, **changes)
    assert host.paths == {"train.py", "job.yaml"}
    assert "started" in (client.project / "err.log").read_text()


def test_a_job_in_the_home_folder_is_refused(client: Client) -> None:
    client.job("print(1)")
    env = {**client.env, "HOME": str(client.project)}
    result = client.run("deploy", "job", "--dry-run", env=env)
    assert (result.code, "is your home" in result.err) == (2, True), result.err


def test_runs_below_the_code_folder_are_no_code(client: Client) -> None:
    client.job("print(1)")
    client.write("runs/code/x", "x")
    env = {**client.env, "GPUJOB_ROOT": "runs"}
    steps = client.run("deploy", "job", "--dry-run", "--json", env=env).json["plan"]["steps"]
    assert any("2 files" in step["reason"] for step in steps), steps


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("set", "it holds .aws/credentials"),
        ("..", "is your home"),
        ("/", "a system folder is not sent"),
        ("../.ssh", "is a folder of credentials"),
        ("../.ssh/config", "is a folder of credentials"),
        ("linked", "it holds a link to "),
        ("deep", "it holds a link to "),
    ],
)
def test_data_with_credentials_or_of_the_whole_home_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    client.job("print(1)", data={"set": place}, exclude=["linked", "deep"])
    client.write("set/.aws/credentials", "x")
    client.write("../.ssh/config", "x")
    for name, target in (("linked/a.csv", ".ssh/config"), ("deep/sub/b", ".ssh")):
        client.write(f"{name}.csv", "x")
        (client.project / name).symlink_to(client.home / target)
    host = scripted()
    monkeypatch.setattr(host, "is_local", False)
    result = type_in(client, host, "deploy", "job", monkeypatch=monkeypatch, remote=True)
    assert (result.code, message in result.err) == (2, True), result.err
    assert "job.yaml:3: data.set" in result.err
    assert host.requests == []


def test_data_that_stays_on_this_machine_may_hold_anything(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.job("print(1)", data={"set": "set"})
    client.write("set/.aws/credentials", "x")
    result = type_in(client, scripted(), "deploy", "job", monkeypatch=monkeypatch)
    assert result.code == 0, result.err


def test_paths_of_context_are_those_of_the_user(tmp_path: Path, client: Client) -> None:
    assert client.context(env={"HOME": str(tmp_path)}).home == tmp_path
    assert client.context(env={}).home.is_absolute()


def test_a_wrong_exclude_pattern_is_named_with_its_line(client: Client) -> None:
    client.job("print(1)")
    with (client.project / "job.yaml").open("a") as file:
        file.write("\nexclude:\n- '*.bin'\n- '!'\n")
    result = client.run("deploy", "job", "--dry-run")
    assert (result.code, "job.yaml:5: exclude: '!' is no pattern" in result.err) == (2, True), result.err


def test_a_deploy_names_ambiguous_values_of_the_job_file(client: Client) -> None:
    client.job("print(1)")
    with (client.project / "job.yaml").open("a") as file:
        file.write("\nconfig: {at: 12:30:00}\n")
    assert "note: job.yaml:3: 12:30:00 is read as text" in client.run("deploy", "job", "--dry-run").out
