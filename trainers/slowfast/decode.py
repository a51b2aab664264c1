"""`python -m trainers.slowfast.decode`: makes one shard, described on stdin, in a process of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from trainers.data.refusal import Unread
from trainers.engine.events import complain, say
from trainers.engine.workers import let_the_parent_decide
from trainers.slowfast.shards import Kind, Shard, Source, build

ROOT = Path(__file__).parents[2]
UNREAD = 65


class Failed(RuntimeError):
    """A process that was to make a shard ended otherwise: the video it was at, and how it ended."""


def build_all(shards: Sequence[Shard], workers: int) -> Iterator[int]:
    """Make shards, `workers` at a time; gives how many videos each has, as they are done.

    Raises Failed, or Unread.
    """
    if workers < 2 or len(shards) < 2:
        yield from map(build, shards)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(_apart, shards)


def _apart(shard: Shard) -> int:
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(asdict(shard)),
        capture_output=True,
        text=True,
        errors="replace",
        cwd=ROOT,
        check=False,
    )
    if done.returncode:
        begun = [json.loads(line) for line in done.stdout.splitlines()]
        raise _fault(begun[-1] if begun else shard.sources[0].path, done.returncode, done.stderr.strip())
    return len(shard.sources)


def _fault(path: str, code: int, said: str) -> Failed | Unread:
    """Why a process ended that had come to this video."""
    if code == UNREAD:
        return Unread(path, said)
    last = (said.splitlines() or ["it said nothing"])[-1]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {last}"
    hint = "; perhaps memory ran out" if code == -signal.SIGKILL else ""
    return Failed(f"{path}: the process that decoded it ended, {how}{hint}")


def main() -> None:
    """One shard from stdin; each path that it comes to on stdout, in JSON."""
    let_the_parent_decide()
    held = json.load(sys.stdin)
    sources = [
        Source(**{**source, "box": tuple(source["box"]) if source["box"] else None})
        for source in held["sources"]
    ]
    shard = Shard(held["folder"], Kind(**held["kind"]), tuple(sources))
    try:
        build(shard, begins=lambda path: say(json.dumps(path)))
    except Unread as fault:
        complain(fault.why)
        sys.exit(UNREAD)


if __name__ == "__main__":
    main()
