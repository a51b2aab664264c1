"""Commands against a real sshd on loopback: failures that only a network can cause."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.host.machines import log_in_to
from tests.rigs.fakehost import FakeHost
from tests.rigs.faultproxy import FaultProxy
from tests.rigs.patience import PATIENCE
from tests.support import Client

ON = ("--on", "gpu")


def runs(client: Client) -> list[dict[str, Any]]:
    result = client.run("status", "--json", *ON)
    assert result.code == 0, result.err + result.out
    runs_shown: list[dict[str, Any]] = result.json["runs"]
    return runs_shown


def root(machine: FakeHost) -> Path:
    return machine.home / ".gpujob"


def test_deploy_status_monitor_stop_and_fetch_of_a_script(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    (client.project / "set").mkdir()
    (client.project / "set" / "a.txt").write_text("data")
    body = (
        "import os, time\n"
        "print(open(os.environ['GPUJOB_DATA_SET'] + '/a.txt').read(), flush=True)\n"
        "os.mkdir('results'); open('results/é.txt', 'w').write('42')\n"
        "time.sleep(60)\n"
    )
    client.job(body, data={"set": "set"}, outputs=["results"])
    client.env["GPUJOB_ROOT"] = ""
    deployed = client.run("deploy", "job", *ON)
    assert deployed.code == 0, deployed.err
    run_id = deployed.out.strip()
    assert (root(machine) / "runs" / run_id / "run.json").exists()
    status = runs(client)[0]
    assert (status["state"], status["session"]) == ("running", f"gpujob-{run_id}")
    stopped = client.run("stop", *ON, "--now")
    assert stopped.code == 0, stopped.err
    streamed = client.run("monitor", "--stream", *ON)
    assert streamed.out == "data\n"
    fetched = client.run("fetch", *ON)
    assert fetched.code == 0, fetched.err
    assert (client.project / "fetched" / run_id / "outputs/results/é.txt").read_text() == "42"
    again = client.run("deploy", "job", *ON)
    assert again.code == 0, again.err
    assert "the host has this tree" in again.err
    assert len(list((root(machine) / "code").iterdir())) == 1
    assert client.run("stop", *ON, "--now", "--clean", "--yes").code == 0


def test_data_on_the_host_is_verified_and_used_in_place(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.job("import os\nprint(os.environ['GPUJOB_DATA_A'])", data={"a": "host:~/uploaded"})
    missing = client.run("deploy", "job", *ON)
    assert (missing.code, "there is no ~/uploaded on gpu" in missing.err) == (2, True)
    (machine.home / "uploaded").mkdir()
    result = client.run("deploy", "job", *ON, "--follow")
    assert result.out.splitlines()[-1] == f"{machine.home}/uploaded"
    result = client.run("deploy", "job", "--set", "data.a=host:uploaded", *ON, "--follow")
    assert result.out.splitlines()[-1] == f"{machine.home}/uploaded"


def test_a_single_data_file_is_sent_once_under_its_name(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.write("sets/a #1.csv", "x,y").chmod(0o640)
    client.write("sets/other.csv", "not sent")
    (client.project / "sets").chmod(0o1777)
    client.job("import os\nprint(os.environ['GPUJOB_DATA_X'])", data={"x": "sets/a #1.csv"})
    client.write(".gitignore", "sets/\n")
    deployed = client.run("deploy", "job", *ON, "--follow")
    assert deployed.code == 0, deployed.err
    fetched = Path(deployed.out.splitlines()[-1])
    assert fetched.is_relative_to(root(machine) / "data" / "x")
    assert (fetched.name, fetched.read_text(), fetched.stat().st_mode & 0o777) == ("a #1.csv", "x,y", 0o640)
    assert [path.name for path in fetched.parent.iterdir()] == ["a #1.csv"]
    assert not fetched.parent.stat().st_mode & 0o1002
    again = client.run("deploy", "job", *ON, "--follow")
    assert (again.code, "(1 file, 0.0 MiB), the host has it" in again.err) == (0, True), again.err
    client.write("sets/a #1.csv", "x,y,z")
    changed = client.run("deploy", "job", *ON, "--follow")
    assert Path(changed.out.splitlines()[-1]).read_text() == "x,y,z"


def test_links_in_data_are_sent_once_as_their_targets(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    cache = client.home / "cache" / "files"
    cache.mkdir(parents=True)
    (cache / "far.txt").write_text("far")
    (cache / "beside.txt").symlink_to("far.txt")
    client.write(".gitignore", "set/\n")
    client.write("set/a/near.txt", "near")
    for link, target in (("inside", "a/near.txt"), ("outside", cache / "far.txt"), ("a/up", "../a/near.txt")):
        (client.project / "set" / link).symlink_to(target)
    for link, target in (("again", "a"), ("cache", cache)):
        (client.project / "set" / link).symlink_to(target)
    body = (
        "import json, os\n"
        "top = os.environ['GPUJOB_DATA_SET']\n"
        "paths = [os.path.join(at, name) for at, _, names in os.walk(top) for name in names]\n"
        "assert not any(os.path.islink(path) for path in paths)\n"
        "print(json.dumps({path[len(top) + 1:]: open(path).read() for path in paths}))\n"
    )
    client.job(body, data={"set": "set"})
    deployed = client.run("deploy", "job", *ON, "--follow")
    assert deployed.code == 0, deployed.err
    near, far = ["inside", "a/near.txt", "a/up", "again/near.txt", "again/up"], ["far.txt", "beside.txt"]
    expected = dict.fromkeys(near, "near") | dict.fromkeys(["outside", *(f"cache/{f}" for f in far)], "far")
    assert json.loads(deployed.out.splitlines()[-1]) == expected
    again = client.run("deploy", "job", *ON, "--follow")
    assert (again.code, "(8 files, 0.0 MiB), the host has it" in again.err) == (0, True), again.err


def test_a_broken_link_in_data_is_reported_before_anything_is_sent(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.write(".gitignore", "set/\n")
    client.write("set/a.txt", "a")
    (client.project / "set" / "gone").symlink_to("no/such")
    client.job("print('here')", data={"set": "set"})
    refused = client.run("deploy", "job", *ON)
    assert refused.code == 2
    assert "job.yaml:3: data.set cannot be sent: gone is a link that leads nowhere (no/such)" in refused.err
    assert not (root(machine) / "code").exists()
    assert client.run("deploy", "job", "--follow").code == 0


def test_an_interrupted_stream_continues_at_the_exact_byte(client: Client, machine: FakeHost) -> None:
    with FaultProxy(machine.address) as proxy:
        log_in_to(client, machine)
        config = client.home / "ssh_config"
        text = (
            machine.ssh_config("gpu", address=proxy.address)
            + f"  UserKnownHostsFile {client.home}/user_known_hosts\n"
        )
        config.write_text(text + f"  HostKeyAlias {machine.address[0]}\n")
        known = client.home / "user_known_hosts"
        known.write_text(machine.known_hosts_line(machine.address[0]) + "\n")
        client.job("import time\nfor n in range(300):\n    print('tick', n, flush=True); time.sleep(.1)")
        assert client.run("deploy", "job", *ON).code == 0
        cutter = threading.Timer(1.5, proxy.cut)
        cutter.start()
        process = client.spawn("monitor", "--stream", *ON)
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(60)]
        assert lines == [b"tick %d\n" % n for n in range(60)]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert proxy.connections >= 2
        client.run("stop", "--now", *ON)


def test_a_deploy_to_a_prepared_host_makes_few_requests(
    client: Client, machine: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.targets.ssh.host import SshHost  # noqa: PLC0415

    log_in_to(client, machine)
    client.job("print(1)")
    assert client.run("deploy", "job", *ON, "--follow").code == 0
    requests: list[str] = []
    begin, exchange = SshHost._begin, SshHost._exchange
    monkeypatch.setattr(
        SshHost, "_begin", lambda self, command: (requests.append("open"), begin(self, command))[1]
    )
    monkeypatch.setattr(
        SshHost,
        "_exchange",
        lambda self, question: (requests.append(question["op"]), exchange(self, question))[1],
    )
    assert client.run("deploy", "job", *ON).code == 0
    assert len(requests) <= 6, requests


def test_after_a_reboot_of_the_host_the_run_is_lost_and_not_failed(client: Client, machine: FakeHost) -> None:
    if os.getuid():
        pytest.skip("a machine of its own needs root")
    log_in_to(client, machine)
    client.job("import time; time.sleep(100)")
    assert client.run("deploy", "job", *ON).code == 0
    machine.reboot()
    assert runs(client)[0]["state"] == "lost"


def test_a_host_without_rsync_gets_the_command_that_installs_it(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.job("print(1)")
    machine.plant("rsync", "#!/bin/sh\necho 'bash: line 1: rsync: command not found' >&2; exit 127\n")
    result = client.run("deploy", "job", *ON)
    assert (result.code, "there: sudo apt-get install -y rsync" in result.err) == (1, True)


def test_rsync_version_is_checked_once_and_doctor_lists_both_sides(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.write("set/a.txt", "a")
    client.job("print(1)", data={"set": "set"})
    folder, requests = client.home / "bin", client.home / "asked"
    folder.mkdir()
    (folder / "rsync").write_text(f'#!/bin/sh\necho "$1" >> {requests}\nexec {shutil.which("rsync")} "$@"\n')
    (folder / "rsync").chmod(0o755)
    client.env["PATH"] = f"{folder}:{client.env['PATH']}"
    assert client.run("deploy", "job", *ON, "--follow").code == 0
    assert requests.read_text().splitlines().count("--version") == 1
    (folder / "rsync").unlink()
    machine.plant("rsync", "#!/bin/sh\n")
    doctor = client.run("doctor", *ON, "--json")
    rows = {row["what"]: row for row in doctor.json["rows"]}
    assert rows["rsync here"]["detail"].startswith("rsync version 3.")
    assert rows["rsync"]["detail"] == str(machine.bin / "rsync")


def test_files_that_rsync_cannot_send_are_named_and_no_key_is_blamed(
    client: Client, machine: FakeHost
) -> None:
    log_in_to(client, machine)
    client.job("print(1)")
    message = "rsync: [sender] send_files failed to open /x: Permission denied (13)"
    (client.home / "bin").mkdir()
    (client.home / "bin" / "rsync").write_text(
        f'#!/bin/sh\n[ "$1" != --version ] || exec {shutil.which("rsync")} --version\n'
        f"echo '{message}' >&2; echo 'rsync error: some files were not transferred (code 23)' >&2; exit 23\n"
    )
    (client.home / "bin" / "rsync").chmod(0o755)
    client.env["PATH"] = f"{client.home}/bin:{client.env['PATH']}"
    result = client.run("deploy", "job", *ON)
    assert (result.code, f"why:  {message}" in result.err) == (1, True), result.err


def test_files_are_sent_against_the_nearest_tree_and_hard_linked(client: Client, machine: FakeHost) -> None:
    log_in_to(client, machine)
    client.write("same name\n.txt", "x" * 1000)
    client.job("print(1)")
    assert client.run("deploy", "job", *ON, "--follow").code == 0
    client.job("print(2)")
    assert client.run("deploy", "job", *ON, "--follow").code == 0
    trees = sorted((root(machine) / "code").iterdir())
    assert len(trees) == 2
    inodes = {(tree / "same name\n.txt").stat().st_ino for tree in trees}
    assert len(inodes) == 1
    assert shutil.which("rsync")


def test_a_run_is_found_without_naming_its_host_and_status_queries_all(
    client: Client, machine: FakeHost
) -> None:
    log_in_to(client, machine)
    client.job("import time; time.sleep(100)")
    run_id = client.run("deploy", "job", *ON).out.strip()
    client.job("pass", name="here")
    assert client.run("deploy", "here", "--follow").code == 0
    shown = client.run("status", "--json").json
    assert {host["target"] for host in shown["hosts"]} == {"local", "gpu"}
    assert {run["target"]: run["state"] for run in shown["runs"]} == {"local": "succeeded", "gpu": "running"}
    machine.kill_machine()
    cached = client.run("status", "--json").json
    assert [run["state"] for run in cached["runs"] if run["target"] == "gpu"] == ["unreachable"]
    assert [run["state"] for run in cached["runs"] if run["target"] == "local"] == ["succeeded"]
    machine.start()
    assert client.run("status", run_id, "--json").json["runs"][0]["state"] == "lost"
    assert client.run("stop", run_id).code == 0
