"""What happens to a run's processes and shared memory when its user logs out."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.commands import doctor
from orchestrator.core import hostchecks, hostfacts, plan
from orchestrator.errors import GpujobError
from orchestrator.onhost import host_facts
from tests.unit.core.test_plan import FACTS, inputs

LOGINCTL = """#!/bin/sh
case "$2" in
show-session) echo KillUserProcesses={kills}; echo RemoveIPC={removes};;
show-user) echo Linger={lingers};;
esac
"""


def effects(
    tmp_path: Path, patch: pytest.MonkeyPatch, kills: str, removes: str, lingers: str = "no", uid: int = 1000
) -> dict[str, Any] | None:
    tool = tmp_path / "loginctl"
    tool.write_text(LOGINCTL.format(kills=kills, removes=removes, lingers=lingers))
    tool.chmod(0o755)
    patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    patch.setattr(os, "getuid", lambda: uid)
    patch.setattr(host_facts.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ana"))
    return host_facts.logout_effects()


def test_a_host_that_kills_processes_at_logout_is_refused_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logout = effects(tmp_path, monkeypatch, "yes", "no")
    assert logout == {"kills": True, "removes": False, "user": "ana"}
    with pytest.raises(GpujobError, match="end the run when gpujob logs out") as error:
        plan.build(inputs(facts={"logout": logout}))
    assert error.value.next_step == "on the host: sudo loginctl enable-linger ana"
    local = plan.build(inputs(facts={"logout": logout}, survives_logout=True))
    assert any("ends the processes" in note for note in local.notes)
    (row,) = [
        row for row in doctor.examine(hostfacts.parse({**FACTS, "logout": logout})) if row[0] == "logout"
    ]
    assert (row[1], row[3]) == ("missing", "sudo loginctl enable-linger ana")


def test_a_host_that_removes_shared_memory_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logout = effects(tmp_path, monkeypatch, "no", "yes")
    assert "removes the shared memory of ana" in (
        hostchecks.describe_logout(hostfacts.parse({"logout": logout})) or ""
    )
    assert plan.build(inputs(facts={"logout": logout}, target="gpu")).notes
    (row,) = [
        row for row in doctor.examine(hostfacts.parse({**FACTS, "logout": logout})) if row[0] == "logout"
    ]
    assert row[1] == "warning"


@pytest.mark.parametrize(
    ("kills", "removes", "lingers", "uid"),
    [("no", "no", "no", 1000), ("yes", "yes", "yes", 1000), ("yes", "yes", "no", 0)],
)
def test_no_warning_if_logout_is_harmless_or_the_user_lingers_or_is_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: str, removes: str, lingers: str, uid: int
) -> None:
    assert effects(tmp_path, monkeypatch, kills, removes, lingers, uid) is None


def test_without_logind_there_is_no_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(host_facts.pwd, "getpwuid", lambda _: SimpleNamespace(pw_name="ana"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert host_facts.logout_effects() is None


def test_a_user_id_without_a_name_is_asked_about_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects(tmp_path, monkeypatch, "yes", "no", uid=12345)
    monkeypatch.setattr(host_facts.pwd, "getpwuid", {}.__getitem__)
    logout = host_facts.logout_effects()
    assert logout is not None
    assert logout["user"] == "12345"
