"""gpujob.Client: typed answers and errors of commands, with nothing printed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import gpujob
from gpujob import Client, DeployOptions, answers, errors
from orchestrator.cli.app import app
from orchestrator.commands.deployment import Request
from tests.support import Client as User


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> User:
    """The environment of a user with one job."""
    user = User(tmp_path, tmp_path / "project", tmp_path / "root")
    user.project.mkdir()
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GPUJOB_ROOT", str(user.root))
    user.job("print(1)")
    return user


def test_a_plan_is_a_typed_object(user: User, capfd: pytest.CaptureFixture[str]) -> None:
    plan = Client(user.project).plan("job", settings={"limits.max_hours": 2, "config": {"a": [1, "x: y"]}})
    assert (plan.job, plan.target) == ("job", "local")
    assert [step.done for step in plan.steps] == [False, False]
    assert capfd.readouterr() == ("", "")


def test_notes_and_warnings_are_written_to_progress(user: User) -> None:
    notes = io.StringIO()
    Client(user.project, progress=notes).plan("job")
    assert "target: local" in notes.getvalue()


def test_a_failing_command_raises_its_error(user: User) -> None:
    with pytest.raises(errors.UsageError) as caught:
        Client(user.project).plan("jib")
    assert caught.value.exit_code == 2
    assert "there is no job 'jib'" in caught.value.what
    with pytest.raises(errors.UsageError, match=r"config\.epochs|limits"):
        Client(user.project).plan("job", settings={"limits.max_hours": "many"})
    with pytest.raises(errors.GpujobError):
        Client(user.project).verify("nowhere")


def test_an_unknown_option_is_a_type_error_with_the_known_ones(user: User) -> None:
    client: Any = Client(user.project)
    with pytest.raises(TypeError, match=r"take no follow; their options: on, name, settings"):
        client.deploy("job", follow=True)


def test_every_option_of_a_deploy_is_one_of_the_command_line() -> None:
    fields = set(Request.__struct_fields__) - {"sets"} | {"settings"}
    assert set(DeployOptions.__annotations__) <= fields


def test_no_run_is_an_empty_tuple_and_an_error_of_run(user: User) -> None:
    client = Client(user.project)
    assert client.runs() == ()
    assert client.status().runs == ()
    with pytest.raises(errors.NotFound):
        client.run()


def test_what_a_target_lacks_is_in_the_answer_and_not_raised(user: User) -> None:
    rows = Client(user.project).doctor("local").rows
    assert isinstance(rows[0], answers.DoctorRow)


def test_every_method_has_the_name_of_a_command_or_is_part_of_one() -> None:
    commands = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}
    for group in app.registered_groups:
        commands |= {info.name or "" for info in group.typer_instance.registered_commands}
    methods = {name for name in vars(Client) if not name.startswith("_")}
    assert methods - commands == {"plan", "resume", "run", "runs", "wait"} - commands


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'client2'"):
        gpujob.client2  # noqa: B018
