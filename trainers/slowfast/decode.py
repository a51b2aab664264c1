"""`python -m trainers.slowfast.decode` writes one shard of the frame cache, which stdin describes as JSON.

Each shard is decoded in its own process, so that a video that crashes the decoder can be named.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from trainers.data import packed
from trainers.data.packed import Advance, Encoded, Shard, Source
from trainers.data.refusal import Unread
from trainers.engine.events import complain, say
from trainers.engine.workers import let_the_parent_decide
from trainers.slowfast import video
from trainers.slowfast.frames import Kind

ROOT = Path(__file__).parents[2]
UNREAD = 65


class Failed(RuntimeError):
    """Raised if a decoding process fails; the message names the video and how the process ended."""


def build_all(shards: Sequence[Shard], advance: Advance, workers: int) -> None:
    """Decode and write shards in up to `workers` parallel processes. Raises Failed, or Unread.

    `advance` is called with the number of finished videos.
    """
    video.av()
    if workers < 2 or len(shards) < 2:
        packed.build_here(Kind.of(shards[0].encoding).encode)(shards, advance)
        return
    with ThreadPoolExecutor(workers) as pool:
        for records in pool.map(_in_process, shards):
            advance(records)


def _in_process(shard: Shard) -> int:
    """Write one shard in a separate process; return the number of its videos."""
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
        paths = [json.loads(line) for line in done.stdout.splitlines()]
        raise _fault(paths[-1] if paths else shard.sources[0].path, done.returncode, done.stderr.strip())
    return len(shard.sources)


def _fault(path: str, code: int, stderr: str) -> Failed | Unread:
    """Return the exception for a process that ended with this exit code while decoding this video."""
    if code == UNREAD:
        return Unread(path, stderr)
    last = (stderr.splitlines() or ["no error message"])[-1]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}: {last}"
    hint = "; possibly out of memory" if code == -signal.SIGKILL else ""
    return Failed(f"{path}: the process that decoded it ended, {how}{hint}")


def main() -> None:
    """Write the shard that stdin describes; print the path of each video as JSON before decoding it."""
    let_the_parent_decide()
    request = json.load(sys.stdin)
    shard = Shard(**{**request, "sources": tuple(Source(**source) for source in request["sources"])})

    def encode(source: Source) -> Encoded:
        say(json.dumps(source.path))
        return Kind.of(shard.encoding).encode(source)

    try:
        packed.write(shard.folder, shard.sources, encode)
    except Unread as fault:
        complain(fault.why)
        sys.exit(UNREAD)


if __name__ == "__main__":
    main()
