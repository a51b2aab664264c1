"""A bad line and a hard death at any moment, and words that a shell would love: over a real sshd."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import sys
import threading
import time
from typing import Any

import pytest

from orchestrator.errors import Unreachable
from orchestrator.targets import asking, registry
from orchestrator.targets.ssh import bulk, openssh_link, paramiko_link
from orchestrator.verbs import config
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
    sample,
    stalled_for,
)

pytestmark = pytest.mark.timeout(1800 if os.environ.get("GPUJOB_TEST_FULL") else 240)


def steps_of_deploy(line: Line) -> int:
    """Points of a deploy to a host that has the helper; the first brings that."""
    for name in ("zero", "one"):
        job(line.box, name)
        result, total = counted(line, "deploy", name)
        assert result.code == 0, result.err
        line.run("stop", name, "--now")
    assert total > 20
    return total


def test_a_deploy_cut_or_stalled_at_any_step_ends_well_and_makes_nothing_twice(
    line: Line, trials: Trials
) -> None:
    total = steps_of_deploy(line)
    faults = [(line.proxy.cut, trials(4, total)), (lambda: line.proxy.cut(rst=False), trials(2, total))]
    faults.append((stalled_for(line.proxy, trials(1, 20)), trials(2, 12)))
    for kind, (fault, many) in enumerate(faults):
        for at in sample(total, many):
            name = f"fault{kind}-{at}"
            wanted, before = job(line.box, name), line.arrived()
            result, _ = counted(line, "deploy", name, at=at, fault=fault)
            assert result.code == 0, (name, result.err)
            carried_on(line, name, wanted, before)


def test_a_deploy_cut_after_any_number_of_bytes_ends_well_and_makes_nothing_twice(
    line: Line, trials: Trials
) -> None:
    steps_of_deploy(line)
    dice = random.Random(5)
    for trial in range(trials(5, 100)):
        name = f"bytes{trial}"
        wanted, before = job(line.box, name), line.arrived()
        line.proxy.cut_after("up", dice.randrange(BIG), rst=dice.random() < 0.5)
        line.proxy.cut_after("down", dice.randrange(30_000), rst=dice.random() < 0.5)
        result = line.run("deploy", name)
        assert result.code == 0, (name, result.err)
        carried_on(line, name, wanted, before)


def test_a_deploy_killed_at_any_step_or_amid_its_bytes_is_carried_on(line: Line, trials: Trials) -> None:
    total = steps_of_deploy(line)
    for at in sorted({*sample(total, trials(4, total)), total - 3}):  # the last: it is up and not confirmed
        name = f"kill{at}"
        wanted, before = job(line.box, name), line.arrived()
        client = line.box.spawn("deploy", name, *ON, code=dies_at(at))
        client.communicate(timeout=120)
        assert client.returncode == -signal.SIGKILL
        carried_on(line, name, wanted, before)
    line.proxy.pace(rate=3e6)
    for at in sample(BIG, trials(2, 20)):
        name = f"amid{at}"
        wanted, before = job(line.box, name), line.arrived()
        killed_amid(line, "up", at, "deploy", name)
        carried_on(line, name, wanted, before)


def killed_amid(line: Line, way: str, count: int, *words: str) -> None:
    """Kills the client when so many bytes have passed."""
    until = line.proxy.passed[way] + count  # type: ignore[index]
    client = line.box.spawn(*words, *ON)
    while line.proxy.passed[way] < until and client.poll() is None:  # type: ignore[index]
        time.sleep(0.002)
    assert client.poll() is None, client.communicate()
    client.kill()
    client.communicate()


OUTPUTS = f"""
import os, pathlib, random
for name, size in (('big', {BIG}), ('small', 5000), ('twin', 5000)):
    pathlib.Path('out').mkdir(exist_ok=True)
    pathlib.Path('out', name).write_bytes(random.Random(size).randbytes(size))
print('done')
"""


def fetched_whole(line: Line) -> tuple[dict[str, bytes], int]:
    """What a fetch brings, and the points it passes; the host has the helper then."""
    line.box.job(OUTPUTS, outputs=["out"])
    result = line.run("deploy", "job", "--follow")
    assert result.code == 0, result.err
    line.run("fetch", "--to", "first")
    result, total = counted(line, "fetch", "--to", "whole")
    assert result.code == 0, result.err
    found = contents(line.box.project / "whole")
    assert len(found["outputs/out/big"]) == BIG
    return found, total


def fetch_carried_on(line: Line, to: str, whole: dict[str, bytes]) -> None:
    """What stands under a final name is whole; fetched again, all of it is there."""
    folder = line.box.project / to
    assert all(whole[name] == content for name, content in contents(folder).items())
    again = line.run("fetch", "--to", to)
    assert again.code == 0, again.err
    assert contents(folder) == whole
    assert not (folder / ".gpujob-part").exists()


def test_a_fetch_cut_stalled_or_killed_at_any_step_or_byte_leaves_nothing_truncated(
    line: Line, trials: Trials
) -> None:
    whole, total = fetched_whole(line)
    stall = stalled_for(line.proxy, trials(1, 20))
    for kind, (fault, many) in enumerate([(line.proxy.cut, trials(3, total)), (stall, trials(3, 12))]):
        for at in sample(total, many):
            result, _ = counted(line, "fetch", "--to", f"fault{kind}-{at}", at=at, fault=fault)
            assert result.code == 0, result.err
            fetch_carried_on(line, f"fault{kind}-{at}", whole)
    for at in sample(BIG, trials(3, 60)):
        line.proxy.cut_after("down", at, rst=bool(at % 2))
        assert line.run("fetch", "--to", f"bytes{at}").code == 0
        fetch_carried_on(line, f"bytes{at}", whole)
    for at in sample(total, trials(3, total)):
        client = line.box.spawn("fetch", "--to", f"kill{at}", *ON, code=dies_at(at))
        client.communicate(timeout=120)
        assert client.returncode == -signal.SIGKILL
        fetch_carried_on(line, f"kill{at}", whole)
    line.proxy.pace(rate=6e6)
    for at in sample(BIG, trials(2, 20)):
        killed_amid(line, "down", at, "fetch", "--to", f"amid{at}")
        fetch_carried_on(line, f"amid{at}", whole)


def test_a_file_that_changes_on_the_host_after_it_was_hashed_there_gets_no_final_name(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = fetched_whole(line)

    def spoil() -> None:
        for staged in line.root.glob("runs/*/.fetch/*/*"):
            if staged.stat().st_size == BIG:
                staged.write_bytes(b"x" + staged.read_bytes()[1:])

    with monkeypatch.context() as patch:
        patch.setattr(bulk.Rsync, "_once", around(bulk.Rsync._once, spoil))
        spoiled = line.run("fetch", "--to", "spoiled")
    assert (spoiled.code, "did not arrive whole" in spoiled.err) == (1, True)
    assert "outputs/out/big" not in contents(line.box.project / "spoiled")
    fetch_carried_on(line, "spoiled", whole)


def test_a_machine_that_dies_amid_an_upload_is_sent_the_rest_by_the_next_deploy(line: Line) -> None:
    line.box.write("job/big.bin", "")
    (line.box.project / "job" / "big.bin").write_bytes(random.Random(4).randbytes(BIG))
    line.box.write("job/train.py", "print(1)")
    line.box.write("job.yaml", f"name: job\ncommand: [{sys.executable}, train.py]\ncode: job\n")
    assert line.run("status").code == 0
    line.proxy.pace(rate=3e6)
    until = line.proxy.passed["up"] + BIG // 2
    client = line.box.spawn("deploy", "job", *ON)
    while line.proxy.passed["up"] < until:
        time.sleep(0.002)
    client.kill()
    line.machine.kill_machine()
    client.communicate()
    assert list(line.root.glob("code/.*.partial/.big.bin.*")), "the machine died too early or too late"
    line.machine.start()
    line.proxy.pace()
    result = line.run("deploy", "job", "--follow")
    assert result.code == 0, result.err
    assert list(line.root.glob("code/.*")) == []


@pytest.mark.parametrize("count", [60, 1200])
def test_a_line_cut_in_the_key_exchange_is_told_as_what_it_is(
    line: Line, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_PAUSES", ())
    line.log_in("  CertificateFile /none\n")
    line.proxy.cut_after("down", count, rst=False)
    result = line.run("status")
    assert (result.code, "onnection closed by" in result.err) == (5, True), result.err


def test_a_log_in_cut_after_any_byte_is_a_line_that_broke_and_no_refusal(line: Line, trials: Trials) -> None:
    assert line.run("status").code == 0
    for count in range(1000, 1700, trials(100, 7)):
        line.proxy.cut_after("down", count, rst=False)
        result = line.run("status")
        assert result.code == 0, (count, result.err)


def test_a_host_key_that_changes_amid_a_deploy_is_refused_at_once(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(line.box, "job")
    monkeypatch.setattr(bulk.Rsync, "_once", around(bulk.Rsync._once, line.machine.swap_host_key))
    result = line.run("deploy", "job")
    assert (result.code, "has changed" in result.err) == (4, True)


# Progress bars, text of many bytes a character, bytes that are no text; lines of now when the cuts are over.
NOISE = """
import os, random, sys, time
dice, out = random.Random(3), sys.stdout.buffer
kinds = [lambda: b''.join(b'\\r%3d%% [%s]' % (n, b'#' * n) for n in range(100)) + b'\\n',
         lambda: ('héllo 世界 \\N{{ROCKET}} ' * 300 + '\\n').encode(), lambda: dice.randbytes(6000)]
for block in range({blocks}):
    out.write(b''.join(dice.choice(kinds)() for _ in range(10)))
    out.flush()
    time.sleep(.01)
while not os.path.exists({over!r}): time.sleep(.1)
for line in range(100):
    out.write(b'\\n@%d@\\n' % time.time_ns())
    out.flush()
    time.sleep(.03)
"""
_STAMP = re.compile(rb"\n@(\d{19})@\n")


class Shown:
    """The sha256 and size of what a client has shown so far, and how late each time stamp came."""

    def __init__(self, stream: Any) -> None:
        self.digest, self.size, self.late = hashlib.sha256(), 0, list[float]()
        self._stream = stream
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        kept = b""
        while block := os.read(self._stream.fileno(), 1 << 20):
            self.digest.update(block)
            self.size += len(block)
            kept += block
            self.late += [time.time() - int(stamp) / 1e9 for stamp in _STAMP.findall(kept)]
            kept = kept[-22:]  # a whole stamp has one more

    def all(self) -> Shown:
        """Once the client has ended."""
        self._thread.join()
        return self


def test_a_stream_cut_at_random_shows_every_byte_of_the_log_once_and_a_line_at_once(
    line: Line, trials: Trials
) -> None:
    cuts, blocks, dice = trials(5, 100), trials(400, 4000), random.Random(2)
    line.box.job(NOISE.format(blocks=blocks, over=str(line.machine.home / "over")))
    assert line.run("deploy", "job").code == 0
    client = line.box.spawn("monitor", "--stream", *ON)
    shown, least = Shown(client.stdout), trials(20, 200) << 20
    log = next(line.root.glob("runs/*/log"))
    for number in range(cuts):
        amid_handshake = number % 3 == 2
        until = line.proxy.connections + 1
        count = dice.randrange(4_000 if amid_handshake else least // cuts)
        line.proxy.cut_after(
            dice.choice(["up", "down"]) if amid_handshake else "down", count, rst=dice.random() < 0.5
        )
        while line.proxy.connections < until and client.poll() is None:
            time.sleep(0.01)
    while not least < shown.size == log.stat().st_size and client.poll() is None:
        time.sleep(0.05)
    (line.machine.home / "over").touch()
    shown.all()
    _, err = client.communicate()
    assert client.returncode == 0, err
    written = log.read_bytes()
    assert (shown.size, shown.digest.hexdigest()) == (len(written), hashlib.sha256(written).hexdigest())
    assert line.proxy.connections > cuts
    assert len(shown.late) == 100
    assert sorted(shown.late)[50] < 1.0  # how long it takes is for benchmarks/stream.py


@pytest.mark.parametrize("way", ["", "  CertificateFile /none\n"])
@pytest.mark.parametrize("fault", ["stall", "blackhole"])
def test_a_line_that_went_silent_is_noticed_within_20_seconds(
    line: Line, way: str, fault: str, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "blackhole" and not trials(0, 1):
        pytest.skip("ten seconds a connection; with GPUJOB_TEST_FULL=1")
    for link in (paramiko_link, openssh_link):
        monkeypatch.setattr(link, "PATIENCE", float(trials(3, 15)))
    monkeypatch.setattr(asking, "_PAUSES", ())
    line.log_in(way)
    ctx = line.box.context()
    with registry.target(ctx, config.load(ctx), "gpu").connect() as host:
        if fault == "stall":
            assert host.ask("look", runs=[], lines=0)["runs"] == []
        getattr(line.proxy, fault)()
        begun = time.monotonic()
        with pytest.raises(Unreachable):
            host.ask("look", runs=[], lines=0)
        assert time.monotonic() - begun < 20
        line.proxy.resume()
        line.proxy.accept()
