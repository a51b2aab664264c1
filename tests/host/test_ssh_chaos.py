"""Connection failures and killed processes at any moment, over a real sshd."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time

import pytest

from orchestrator.targets import helper_host
from orchestrator.targets.ssh import openssh, rsync
from tests.host.chaos import (
    BIG,
    ON,
    Line,
    Trials,
    around,
    carried_on,
    contents,
    counted,
    dies_at,
    job,
    require_no_helper,
    sample,
    stalled_for,
)
from tests.rigs.patience import PATIENCE


def steps_of_deploy(line: Line) -> int:
    """Return the number of points of a deploy to a host that has the helper; a first deploy sends it."""
    for name in ("zero", "one"):
        job(line.client, name)
        result, total = counted(line, "deploy", name)
        assert result.code == 0, result.err
        line.run("stop", name, "--now")
    assert total > 20
    return total


def test_a_deploy_cut_or_stalled_at_any_step_completes_exactly_once(line: Line, trials: Trials) -> None:
    total = steps_of_deploy(line)
    faults = [(line.proxy.cut, trials(1, total)), (lambda: line.proxy.cut(rst=False), trials(1, total))]
    faults.append((stalled_for(line.proxy, trials(1, 20)), trials(1, 12)))
    for kind, (fault, many) in enumerate(faults):
        for at in sample(total, many):
            name = f"fault{kind}-{at}"
            expected, before = job(line.client, name), line.arrived()
            result, _ = counted(line, "deploy", name, at=at, fault=fault)
            assert result.code == 0, (name, result.err)
            carried_on(line, name, expected, before)


def test_a_deploy_cut_after_any_number_of_bytes_completes_exactly_once(line: Line, trials: Trials) -> None:
    steps_of_deploy(line)
    dice = random.Random(5)
    for trial in range(trials(1, 100)):
        name = f"bytes{trial}"
        expected, before = job(line.client, name), line.arrived()
        line.proxy.cut_after("up", dice.randrange(BIG), rst=dice.random() < 0.5)
        line.proxy.cut_after("down", dice.randrange(30_000), rst=dice.random() < 0.5)
        result = line.run("deploy", name)
        assert result.code == 0, (name, result.err)
        carried_on(line, name, expected, before)


def test_a_deploy_killed_at_any_step_or_amid_its_bytes_is_carried_on(line: Line, trials: Trials) -> None:
    total = steps_of_deploy(line)
    for at in sorted(
        {*sample(total, trials(1, total)), total - 3}
    ):  # at the last point the run is started and not confirmed
        name = f"kill{at}"
        expected, before = job(line.client, name), line.arrived()
        process = line.client.spawn("deploy", name, *ON, code=dies_at(at))
        process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL
        require_no_helper(line)
        carried_on(line, name, expected, before)
    line.proxy.pace(rate=3e6)
    for at in sample(BIG, trials(0, 20)):
        name = f"amid{at}"
        expected, before = job(line.client, name), line.arrived()
        killed_amid(line, "up", at, "deploy", name)
        carried_on(line, name, expected, before)


def killed_amid(line: Line, way: str, count: int, *words: str) -> None:
    """Kill the client after this many bytes have passed the proxy."""
    until = line.proxy.passed[way] + count  # type: ignore[index]
    process = line.client.spawn(*words, *ON)
    while line.proxy.passed[way] < until and process.poll() is None:  # type: ignore[index]
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    require_no_helper(line)


OUTPUTS = f"""
import os, pathlib, random
for name, size in (('big', {BIG}), ('small', 5000), ('twin', 5000)):
    pathlib.Path('out').mkdir(exist_ok=True)
    pathlib.Path('out', name).write_bytes(random.Random(size).randbytes(size))
print('done')
"""


def fetched_whole(line: Line) -> tuple[dict[str, bytes], int]:
    """Fetch completely; return the files and the number of points. The host has the helper afterwards."""
    line.client.job(OUTPUTS, outputs=["out"])
    result = line.run("deploy", "job", "--follow")
    assert result.code == 0, result.err
    line.run("fetch", "--to", "first")
    result, total = counted(line, "fetch", "--to", "whole")
    assert result.code == 0, result.err
    files = contents(line.client.project / "whole")
    assert len(files["outputs/out/big"]) == BIG
    return files, total


def fetch_carried_on(line: Line, to: str, expected: dict[str, bytes]) -> None:
    """Check that files with a final name are complete, and that another fetch completes the rest."""
    folder = line.client.project / to
    assert all(expected[name] == content for name, content in contents(folder).items())
    again = line.run("fetch", "--to", to)
    assert again.code == 0, again.err
    assert contents(folder) == expected
    assert not (folder / ".gpujob-part").exists()


def test_a_fetch_cut_stalled_or_killed_anywhere_leaves_nothing_truncated(line: Line, trials: Trials) -> None:
    expected, total = fetched_whole(line)
    stall = stalled_for(line.proxy, trials(1, 20))
    for kind, (fault, many) in enumerate([(line.proxy.cut, trials(1, total)), (stall, trials(1, 12))]):
        for at in sample(total, many):
            result, _ = counted(line, "fetch", "--to", f"fault{kind}-{at}", at=at, fault=fault)
            assert result.code == 0, result.err
            fetch_carried_on(line, f"fault{kind}-{at}", expected)
    for at in sample(BIG, trials(1, 60)):
        line.proxy.cut_after("down", at, rst=bool(at % 2))
        assert line.run("fetch", "--to", f"bytes{at}").code == 0
        fetch_carried_on(line, f"bytes{at}", expected)
    for at in sample(total, trials(1, total)):
        process = line.client.spawn("fetch", "--to", f"kill{at}", *ON, code=dies_at(at))
        process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL
        require_no_helper(line)
        fetch_carried_on(line, f"kill{at}", expected)
    line.proxy.pace(rate=6e6)
    for at in sample(BIG, trials(0, 20)):
        killed_amid(line, "down", at, "fetch", "--to", f"amid{at}")
        fetch_carried_on(line, f"amid{at}", expected)


def killed_after(line: Line, seconds: float, *words: str) -> None:
    process = line.client.spawn(*words, *ON)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=seconds)
    process.kill()
    process.communicate(timeout=PATIENCE)
    require_no_helper(line)


def seconds_of(line: Line, *words: str) -> float:
    """Run the command to its end; return how long it took."""
    begun = time.monotonic()
    process = line.client.spawn(*words, *ON)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return time.monotonic() - begun


def test_a_deploy_killed_at_any_moment_leaves_one_run_and_no_helper(line: Line, trials: Trials) -> None:
    for name in ("zero", "one"):  # the first one sends the helper
        job(line.client, name)
        line.proxy.pace(rate=6e6)
        whole = seconds_of(line, "deploy", name)
    dice = random.Random(9)
    for number in range(trials(1, 50)):
        name = f"moment{number}"
        expected, before = job(line.client, name), line.arrived()
        killed_after(line, dice.uniform(0, whole), "deploy", name)
        carried_on(line, name, expected, before)


def test_a_fetch_killed_at_any_moment_leaves_no_helper_and_continues(line: Line, trials: Trials) -> None:
    expected, _ = fetched_whole(line)
    line.proxy.pace(rate=6e6)
    whole = seconds_of(line, "fetch", "--to", "timed")
    dice = random.Random(9)
    for number in range(trials(1, 50)):
        killed_after(line, dice.uniform(0, whole), "fetch", "--to", f"moment{number}")
        fetch_carried_on(line, f"moment{number}", expected)


def test_a_file_that_changes_on_the_host_after_hashing_gets_no_final_name(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = fetched_whole(line)

    def spoil() -> None:
        for staged in line.root.glob("runs/*/.fetch/*/*"):
            if staged.stat().st_size == BIG:
                changed = b"x" + staged.read_bytes()[1:]
                staged.unlink()  # a link to a file of the run, which must stay unchanged
                staged.write_bytes(changed)

    with monkeypatch.context() as patch:
        patch.setattr(rsync.Rsync, "_once", around(rsync.Rsync._once, spoil))
        spoiled = line.run("fetch", "--to", "spoiled")
    assert (spoiled.code, "was damaged in transfer" in spoiled.err) == (1, True)
    assert "outputs/out/big" not in contents(line.client.project / "spoiled")
    fetch_carried_on(line, "spoiled", expected)


def test_an_upload_interrupted_by_a_crash_is_completed_by_the_next_deploy(line: Line) -> None:
    line.client.write("job/big.bin", "")
    (line.client.project / "job" / "big.bin").write_bytes(random.Random(4).randbytes(BIG))
    line.client.write("job/train.py", "print(1)")
    line.client.write("job.yaml", f"name: job\ncommand: [{sys.executable}, train.py]\ncode: job\n")
    assert line.run("status").code == 0
    line.proxy.pace(rate=3e6)
    until = line.proxy.passed["up"] + BIG // 2
    process = line.client.spawn("deploy", "job", *ON)
    while line.proxy.passed["up"] < until:
        time.sleep(0.002)
    process.kill()
    line.machine.kill_machine()
    process.communicate()
    assert list(line.root.glob("code/.*.partial/.big.bin.*")), "the machine died too early or too late"
    line.machine.start()
    line.proxy.pace()
    result = line.run("deploy", "job", "--follow")
    assert result.code == 0, result.err
    assert list(line.root.glob("code/.*")) == []


@pytest.mark.parametrize("count", [60, 1200])
def test_a_connection_cut_in_the_key_exchange_is_a_connection_error(
    line: Line, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper_host, "_PAUSES", ())
    line.log_in("  CertificateFile /none\n")
    line.proxy.cut_after("down", count, rst=False)
    result = line.run("status")
    assert (result.code, "onnection closed by" in result.err) == (5, True), result.err


def test_a_log_in_cut_after_any_byte_is_a_line_that_broke_and_no_refusal(line: Line, trials: Trials) -> None:
    assert line.run("status").code == 0
    for count in range(1000, 1700, trials(300, 7)):
        line.proxy.cut_after("down", count, rst=False)
        result = line.run("status")
        assert result.code == 0, (count, result.err)


def test_a_host_key_that_changes_amid_a_deploy_is_refused_at_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(line.client, "job")
    swapped = around(openssh.OpenSSH.ensure_master, line.machine.swap_host_key)
    monkeypatch.setattr(openssh.OpenSSH, "ensure_master", swapped)
    result = line.run("deploy", "job")
    assert (result.code, "has changed" in result.err) == (4, True)
