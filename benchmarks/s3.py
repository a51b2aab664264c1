"""Data in S3 against s5cmd alone and the AWS CLI, in one run against one server: moto's, on loopback.

    python -m benchmarks.s3 [--files 5000] [--small 200] [--large 2] [--cli]

It prints how long a deploy lists unchanged objects, and the throughput of downloads, which gpujob verifies,
both in multiples of s5cmd's own. The server answers downloads as over a network, with a delay and at a rate:
without them it would compete with the tools for the cores of this machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.commands import s3 as s3_command
from orchestrator.core.layout import Layout
from orchestrator.core.s3 import S3, Listing, Place
from orchestrator.onhost import s3_data
from orchestrator.onhost.s3_data import Object, Request
from orchestrator.onhost.s3_tool import Source
from tests.rigs.s3 import BUCKET
from tests.support import new_client

ROUNDS = 3
DELAY, RATE = 0.02, 16 << 20  # seconds for an answer, and bytes per second of one request
LARGE_MIB = 128
SERVER = """
import json, sys, time
from tests.rigs import s3
with s3.running() as server:
    for number in range(int(sys.argv[1])):
        server.put(f"many/{number % 50}/{number}.bin", b"%d" % number)
    for number in range(int(sys.argv[2])):
        server.put(f"small/{number % 50}/{number}.bin", b"%d" % number * 2000)
    for number in range(int(sys.argv[3])):
        server.put(f"large/{number}.bin", bytes([number]) * (int(sys.argv[4]) << 20))
    app = server._server._server.app
    def paced(environ, start_response):
        body = list(app(environ, start_response))
        if "list-type" not in environ["QUERY_STRING"]:
            time.sleep(float(sys.argv[5]) + sum(map(len, body)) / float(sys.argv[6]))
        return body
    server._server._server.app = paced
    print(json.dumps(s3.environment(server)), flush=True)
    sys.stdin.read()
"""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def listed(prefix: str) -> Listing:
    with new_client() as client:
        return s3_command.listing(client.context(), S3(), Place(BUCKET, prefix), "data")


def fetch(found: Listing, root: Path) -> None:
    objects = [Object(*one) for one in found.objects]
    request = Request("data", found.fingerprint, Source(BUCKET, found.location.prefix), objects)
    s3_data.fetch(Layout(str(root)), request)


def tools(prefix: str, to: Path) -> dict[str, list[str]]:
    source, endpoint = f"s3://{BUCKET}/{prefix}", ["--endpoint-url", os.environ["AWS_ENDPOINT_URL"]]
    found = {"s5cmd": ["s5cmd", *endpoint, "--log", "error", "cp", f"{source}/*", f"{to}/"]}
    if shutil.which("aws"):
        found["AWS CLI"] = ["aws", *endpoint, "s3", "sync", "--quiet", source, str(to)]
    return found


def measure(prefix: str, with_cli: bool) -> None:
    found = listed(prefix)
    times: dict[str, list[float]] = {}
    for round_, name in itertools.product(range(ROUNDS), ("s5cmd", "AWS CLI", "gpujob")):
        with tempfile.TemporaryDirectory() as folder:
            words = tools(prefix, Path(folder, "data")).get(name)
            if name == "gpujob":
                took = seconds(lambda folder=folder: fetch(found, Path(folder)))  # type: ignore[misc]
            elif words and (name == "s5cmd" or (with_cli and not round_)):
                took = seconds(lambda words=words: subprocess.run(words, check=True))  # type: ignore[misc]
            else:
                continue
            times.setdefault(name, []).append(took)
    for name, every in times.items():
        took = statistics.median(every)
        rate = found.bytes / took / 2**20
        ratio = statistics.median(plain / own for plain, own in zip(times["s5cmd"], every, strict=False))
        what = f"{prefix}: {len(found.objects)} files, {found.bytes / 2**20:.0f} MiB: {name}"
        say(f"{what}: {took:.2f} s, {rate:.1f} MiB/s, {ratio:.2f} of s5cmd's throughput")


def unchanged(prefix: str) -> None:
    """A deploy's whole work on unchanged data: the listing; the host finds its folder.

    The floor is s5cmd's own listing of the same objects from the same server, in turns with gpujob's.
    """
    url = ["s5cmd", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], "ls", f"s3://{BUCKET}/{prefix}/*"]
    found = listed(prefix)  # with the import of botocore
    plain, own, used = [], [], []
    for _ in range(ROUNDS + 2):
        plain.append(seconds(lambda: subprocess.run(url, check=True, capture_output=True)))
        before = time.process_time()
        own.append(seconds(lambda: listed(prefix)))
        used.append(time.process_time() - before)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(own, plain, strict=True))
    took, cpu, floor = map(statistics.median, (own, used, plain))
    what = f"{len(found.objects)} unchanged objects: {took:.2f} s (at least {min(own):.2f} s)"
    say(f"{what}, {cpu:.2f} s of CPU time; s5cmd {floor:.2f} s; ratio {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=5000, help="objects that are listed")
    parser.add_argument("--small", type=int, default=200, help="small objects that are downloaded")
    parser.add_argument("--large", type=int, default=2, help=f"objects of {LARGE_MIB} MiB")
    parser.add_argument("--cli", action="store_true", help="the AWS CLI, too, which takes minutes")
    options = parser.parse_args()
    counts = map(str, (options.files, options.small, options.large, LARGE_MIB, DELAY, RATE))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, *counts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdout
        os.environ.update(json.loads(server.stdout.readline()))
        unchanged("many")
        for prefix, count in (("small", options.small), ("large", options.large)):
            if count:
                measure(prefix, options.cli)
        server.terminate()


if __name__ == "__main__":
    main()
