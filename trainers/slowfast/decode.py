"""`python -m trainers.slowfast.decode` writes one shard of the frame cache, which stdin describes as JSON.

Each shard is decoded in its own process, so that a video that crashes the decoder can be named.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trainers.data import packed
from trainers.data.packed import Advance, Encoded, Shard, Source
from trainers.data.refusal import Unread, Unusable
from trainers.engine.events import complain, say
from trainers.engine.workers import let_the_parent_decide
from trainers.slowfast import video
from trainers.slowfast.upright import Box

ROOT = Path(__file__).parents[2]
UNREAD = 65


@dataclass(frozen=True)
class Kind:
    """How frames are cached: `size` is height and width in pixels, `format` is `jpeg` or `raw`."""

    size: int
    format: str

    @property
    def encoding(self) -> str:
        """All settings that affect the cached bytes, as JSON; part of the key of a shard."""
        return json.dumps(["frames", self.size, self.format, video.QUALITY, video.VERSION])

    @classmethod
    def of(cls, encoding: str) -> "Kind":
        """Parse the value of the property `encoding`."""
        _, size, form, *_ = json.loads(encoding)
        return cls(size, form)

    def encoded(self, frames: np.ndarray) -> list[bytes]:
        """Encode frames (T, S, S, 3) uint8, each to the bytes that are cached."""
        return video.encode(frames) if self.format == "jpeg" else [frame.tobytes() for frame in frames]

    def decoded(self, blob: np.ndarray, out: np.ndarray) -> None:
        """Decode one cached frame into `out` (S, S, 3) uint8."""
        if self.format == "jpeg":
            video.decode(blob, out)
        else:
            out[:] = blob.reshape(out.shape)

    def as_kept(self, frames: np.ndarray) -> np.ndarray:
        """Encode and decode frames (T, S, S, 3), so that they have the JPEG losses of those in training."""
        again = np.empty_like(frames)
        for blob, out in zip(self.encoded(frames), again, strict=True):
            self.decoded(np.frombuffer(blob, np.uint8), out)
        return again

    def encode(self, source: Source) -> Encoded:
        """Decode one video and encode its frames for the cache. Raises Unusable, or Unread."""
        box: Box | None = tuple(json.loads(source.variant)) if source.variant else None
        try:
            pictures = video.read(Path(source.path), self.size, box)
        except Unusable as fault:
            raise Unusable(fault.reason, fault.detail, "files.decodable") from fault
        frames = self.encoded(pictures.frames)
        return Encoded(b"".join(frames), {"sizes": [len(blob) for blob in frames], "rate": pictures.rate})


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
