"""The container engine of a host, and the command that runs a container, with a program as docker."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import cleaning, containers, engines, gpus, group_supervisor, uploads
from orchestrator.onhost.engines import Engine
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import GroupSpec, RunSpec
from tests.rigs import engine as rig

RUN = "job-20261121T101112-1a2b"
KEY = "0123456789abcdef"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rig.Engine:
    docker = rig.Engine(tmp_path / "bin", images=(), real=False)
    monkeypatch.setenv("PATH", str(docker.folder))
    return docker


def test_an_image_is_pulled_once_and_what_is_printed_is_kept(docker: rig.Engine, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    with pytest.raises(Refused, match="could not be pulled: Error response from daemon: pull access denied"):
        engines.ensure_image(layout, KEY, "a/b:1")
    docker.write("registry", "a/b:1")
    first = engines.ensure_image(layout, KEY, "a/b:1")
    assert "Downloaded newer image" in Path(layout.environment_log(KEY)).read_text()
    assert engines.ensure_image(layout, KEY, "a/b:1") == first == engines.require_image(first)
    assert len(docker.calls("pull")) == 2  # with the one that failed
    docker.write("images", "")
    with pytest.raises(Refused, match="is not on the host"):
        engines.require_image(first)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("permission denied while trying to connect to the Docker daemon socket", "engine-denied"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "engine-stopped"),
        ("x509: certificate signed by unknown authority", "engine-failed"),
    ],
)
def test_an_engine_that_cannot_be_used_says_why(docker: rig.Engine, text: str, kind: str) -> None:
    docker.write("info", text)
    assert engines.facts("a") == {"problem": kind, "detail": f"docker: {text}"}


def test_a_docker_that_remaps_users_is_asked_for_those_of_the_host(
    docker: rig.Engine, tmp_path: Path
) -> None:
    docker.write("security", "name=userns")
    launch = command(tmp_path, engines.find(), spec(tmp_path), {})
    assert f"--user {os.getuid()}:{os.getgid()} --userns host" in " ".join(launch.words)
    assert launch.variables
    launch.variables.close()


def test_clean_removes_a_container_that_a_restart_left(docker: rig.Engine, tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    paths = layout.run(RUN)
    Path(paths.work).mkdir(parents=True)
    Path(paths.run_json).write_text(json.dumps(spec(tmp_path).record.values))
    cleaning.clean(layout, RUN, purge=True)
    assert docker.calls("rm") == [["--force", RUN]]
    assert not Path(paths.folder).exists()


def test_podman_is_used_where_docker_cannot_be(docker: rig.Engine) -> None:
    docker.write("info", "permission denied")
    info = '{"host": {"security": {"rootless": true}}, "version": {"Version": "4.3.1"}}'
    (docker.folder / "podman").write_text(f"#!/bin/sh\necho '{info}'\n")
    (docker.folder / "podman").chmod(0o755)
    assert engines.find()[1:4] == ("podman", "4.3.1", True)


def test_a_host_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engines.facts("a")["problem"] == "no-engine"


def spec(tmp_path: Path, **changes: object) -> RunSpec:
    record = {
        "id": RUN,
        "mark": "m" * 32,
        "argv": ["python", "train.py"],
        "image": {"name": "a:1", "id": "ID"},
    }
    return RunSpec.parse({**record, "data": {"d": {"path": '/data/a,"b'}}, **changes})


def command(tmp_path: Path, engine: Engine, run: RunSpec, variables: dict[str, str]) -> containers.Launch:
    layout = Layout(str(tmp_path))
    return containers.Container(engine, RUN).launch(layout, layout.run(RUN), run, variables)


def docker_engine(kind: str = "docker", is_rootless: bool = False) -> Engine:
    return Engine("/no/engine", kind, "1", is_rootless, True)


def test_the_command_line_of_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgroups", lambda: [os.getgid(), 44])
    launch = command(tmp_path, docker_engine(), spec(tmp_path), {"A": "1", "PATH": "/host"})
    root, run = tmp_path, f"{tmp_path}/runs/{RUN}"
    expected = (
        f"/no/engine run --rm --pull never --log-driver none --name {RUN} --label gpujob.run={RUN} "
        f"--network host --ipc host --security-opt label=disable --workdir {run}/work "
        f"--user {os.getuid()}:{os.getgid()} --group-add 44 --init "
        f"--mount type=bind,source={run},target={run} "
        f"--mount type=bind,source=/tmp/gpujob-{'m' * 16},target=/tmp/gpujob-{'m' * 16} "
        f"--mount type=bind,source={root}/cache,target={root}/cache "
        '--mount type=bind,"source=/data/a,""b","target=/data/a,""b",readonly '
        f"--env-file /dev/fd/{launch.variables.fileno()} --entrypoint python ID train.py"  # type: ignore[union-attr]
    )
    assert " ".join(launch.words) == expected
    assert launch.variables
    launch.variables.seek(0)
    assert launch.variables.read() == f"HOME={root}/cache/home\nA=1\n".encode()
    launch.variables.close()


def test_a_container_of_several_hosts_is_reached_and_reads_data_from_s3(tmp_path: Path) -> None:
    """Its ports are those of the host; it cannot change what the host downloaded from S3."""
    group = GroupSpec(1, ["a", "b"], ["10.0.0.5"], 29400, "key")
    data = uploads.data_folder(Layout(str(tmp_path)), "images", "f" * 32)
    run = spec(tmp_path, data={"images": {"path": data}})
    launch = command(tmp_path, docker_engine(), run, group_supervisor.describe(group, "10.0.0.5", 31000, 2))
    words = " ".join(launch.words)
    assert "--network host --ipc host" in words
    assert f"--mount type=bind,source={data},target={data},readonly" in words
    assert launch.variables
    launch.variables.seek(0)
    lines = launch.variables.read().decode().split()
    launch.variables.close()
    assert set(lines) >= {
        "GPUJOB_NODE_RANK=1",
        "GPUJOB_NNODES=2",
        "MASTER_ADDR=10.0.0.5",
        "MASTER_PORT=31000",
        "PET_NPROC_PER_NODE=2",
    }


@pytest.mark.parametrize(
    ("kind", "visible", "options"),
    [
        ("docker", None, ["--gpus", "all"]),
        ("docker", "0,2", ["--gpus", '"device=0,2"']),
        ("docker", "", []),
        ("podman", None, ["--device", "nvidia.com/gpu=all"]),
        ("podman", "0,2", ["--device", "nvidia.com/gpu=0", "--device", "nvidia.com/gpu=2"]),
    ],
)
def test_a_container_sees_the_gpus_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, visible: str | None, options: list[str]
) -> None:
    monkeypatch.setattr(gpus, "sample", lambda: [object()])
    variables = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    launch = command(tmp_path, docker_engine(kind), spec(tmp_path, resources={"gpus": 2}), variables)
    words = list(launch.words)
    found = [
        word for at, word in enumerate(words) if {"--gpus", "--device"} & {word, words[at - 1] if at else ""}
    ]
    assert found == options
    assert launch.variables
    launch.variables.seek(0)
    assert b"CUDA_VISIBLE" not in launch.variables.read()
    launch.variables.close()


def test_a_value_that_no_environment_file_can_hold_is_passed_by_name(tmp_path: Path) -> None:
    variables = {"LINES": "a\nb", "CR": "a\r", "LONG": "x" * 70_000, "BYTES": "\udcff", "PLAIN": "#a = 'b'"}
    launch = command(tmp_path, docker_engine(), spec(tmp_path), variables)
    words = list(launch.words)
    assert [words[at + 1] for at, word in enumerate(words) if word == "--env"] == [*variables][:4]
    assert {name: launch.environment[name] for name in [*variables][:4]} == {
        name: variables[name] for name in [*variables][:4]
    }
    assert launch.variables
    launch.variables.seek(0)
    assert b"PLAIN=#a = 'b'\n" in launch.variables.read()
    launch.variables.close()


@pytest.mark.parametrize(
    ("kind", "options"), [("docker", ["--user", "0:0"]), ("podman", ["--userns", "keep-id"])]
)
def test_the_files_of_a_rootless_engine_belong_to_the_user(
    tmp_path: Path, kind: str, options: list[str]
) -> None:
    launch = command(tmp_path, docker_engine(kind, is_rootless=True), spec(tmp_path), {})
    assert " ".join(options) in " ".join(launch.words)
    assert launch.variables
    launch.variables.close()
