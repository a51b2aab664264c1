"""Which settings files are read, from which folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import settings_files
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        (new.project / "src" / "deep").mkdir(parents=True)
        yield new


def value(client: Client, key: str, below: str = "src/deep") -> tuple[str, str]:
    setting = settings_files.load(client.context(cwd=client.project / below))[key]
    return setting.value, setting.source


def test_settings_are_found_up_to_the_root_of_the_git_work_tree(client: Client) -> None:
    client.write("gpujob.yaml", "region: eu-west-1\n")
    assert value(client, "region")[0] == "us-east-1"  # without git, a folder above may be anybody's
    (client.project / ".git").mkdir()
    path = client.project / "gpujob.yaml"
    assert value(client, "region") == ("eu-west-1", str(path))
    client.write("src/gpujob.yaml", "region: eu-west-3\n")
    assert value(client, "region")[0] == "eu-west-3"
    assert value(client, "region", "src") == ("eu-west-3", "gpujob.yaml")
    (client.project / "src" / ".git").write_text("gitdir: elsewhere\n")  # as in a work tree or submodule
    (client.project / "src" / "gpujob.yaml").unlink()
    assert value(client, "region")[0] == "us-east-1"


def test_paths_in_settings_are_relative_to_their_file(client: Client) -> None:
    (client.project / ".git").mkdir()
    client.write("gpujob.yaml", "fetch_dir: results\nroot: ~/runs\n")
    assert value(client, "fetch_dir")[0] == str(client.project / "results")
    del client.env["GPUJOB_ROOT"]
    assert value(client, "root")[0] == str(client.home / "runs")
    assert value(client, "fetch_dir", ".")[0] == "results"


def test_a_settings_file_of_another_user_above_is_not_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    (client.project / ".git").mkdir()
    client.write("gpujob.yaml", "target: evil\n")
    owner = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: owner)
    real = Path.stat

    def stat(self: Path, **more: bool) -> os.stat_result:
        fields = list(real(self, **more))
        fields[4] = 12345 if self.name == "gpujob.yaml" else fields[4]
        return os.stat_result(fields)

    monkeypatch.setattr(Path, "stat", stat)
    assert value(client, "target") == ("local", "default")


def test_config_show_names_the_files_that_were_read(client: Client) -> None:
    assert "settings files: none (gpujob.yaml, " in client.run("config", "show").out
    client.write("gpujob.yaml", "region: eu-west-1\n")
    user = client.context().config_file
    user.parent.mkdir(parents=True)
    user.write_text("region: x\ntarget: gpubox\n")
    shown = client.run("config", "show")
    assert shown.out.splitlines()[-1] == f"settings files: gpujob.yaml, {user}"
    assert client.run("config", "show", "--json").json["files"] == ["gpujob.yaml", str(user)]
