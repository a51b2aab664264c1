"""A stream that is cut repeatedly, and a connection that stalls, over a real sshd."""

from __future__ import annotations

import hashlib
import random
import time

import pytest

from orchestrator import registry, settings_files
from orchestrator.errors import Unreachable
from orchestrator.targets import helper_host, pipes
from tests.host.chaos import ON, Line, Trials
from tests.rigs.shown import STAMP, Shown

# Progress bars, multi-byte characters, invalid UTF-8; lines with the current time after the cuts.
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


def test_a_stream_cut_at_random_shows_every_byte_of_the_log_once(line: Line, trials: Trials) -> None:
    cuts, blocks, dice = trials(5, 100), trials(400, 4000), random.Random(2)
    line.client.job(NOISE.format(blocks=blocks, over=str(line.machine.home / "over"), stamp=STAMP))
    assert line.run("deploy", "job").code == 0
    process = line.client.spawn("monitor", "--stream", *ON)
    shown, least = Shown(process.stdout), trials(20, 200) << 20
    log = next(line.root.glob("runs/*/log"))
    for number in range(cuts):
        amid_handshake = number % 3 == 2
        until = line.proxy.connections + 1
        count = dice.randrange(4_000 if amid_handshake else least // cuts)
        line.proxy.cut_after(
            dice.choice(["up", "down"]) if amid_handshake else "down", count, rst=dice.random() < 0.5
        )
        while line.proxy.connections < until and process.poll() is None:
            time.sleep(0.01)
    while not least < shown.size == log.stat().st_size and process.poll() is None:
        time.sleep(0.05)
    (line.machine.home / "over").touch()
    shown.all()
    _, err = process.communicate()
    assert process.returncode == 0, err
    written = log.read_bytes()
    assert (shown.size, shown.digest.hexdigest()) == (len(written), hashlib.sha256(written).hexdigest())
    assert line.proxy.connections > cuts
    assert len(shown.late()) == 100


@pytest.mark.parametrize("way", ["", "  CertificateFile /none\n"])
@pytest.mark.parametrize("fault", ["stall", "blackhole"])
def test_a_line_that_went_silent_is_noticed(
    line: Line, way: str, fault: str, trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "blackhole" and not trials(0, 1):
        pytest.skip("ten seconds a connection; with GPUJOB_TEST_FULL=1")
    assert pipes.TIMEOUT <= 15  # seconds; 20 with the steps before and after it
    monkeypatch.setattr(pipes, "TIMEOUT", float(trials(3, 15)))
    monkeypatch.setattr(helper_host, "_PAUSES", ())
    line.log_in(way)
    ctx = line.client.context()
    with registry.target(ctx, settings_files.load(ctx), "gpu").connect() as host:
        if fault == "stall":
            assert host.ask("status", runs=[], lines=0)["runs"] == []
        getattr(line.proxy, fault)()
        with pytest.raises(Unreachable):
            host.ask("status", runs=[], lines=0)
        line.proxy.resume()
        line.proxy.accept()
