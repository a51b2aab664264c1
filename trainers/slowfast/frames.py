"""How the frames of a video are kept in the cache: one by one, as JPEG or raw. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data.packed import Encoded, Source
from trainers.data.refusal import Unusable
from trainers.slowfast import video
from trainers.slowfast.video import Box


@dataclass(frozen=True)
class Kind:
    """How frames are kept: height and width in pixels; `jpeg` or `raw`."""

    size: int
    format: str

    @property
    def encoding(self) -> str:
        """All that decides what becomes of a picture, for the key of a shard."""
        return json.dumps(["frames", self.size, self.format, video.QUALITY])

    @classmethod
    def of(cls, encoding: str) -> "Kind":
        """Back from `encoding`."""
        _, size, form, _ = json.loads(encoding)
        return cls(size, form)

    def encoded(self, frames: np.ndarray) -> list[bytes]:
        """Frames (T, S, S, 3), each as it is kept."""
        return video.encode(frames) if self.format == "jpeg" else [frame.tobytes() for frame in frames]

    def decoded(self, blob: np.ndarray, out: np.ndarray) -> None:
        """One kept frame into `out` (S, S, 3)."""
        if self.format == "jpeg":
            video.decode(blob, out)
        else:
            out[:] = blob.reshape(out.shape)

    def as_kept(self, frames: np.ndarray) -> np.ndarray:
        """What comes back of frames once they were kept: the same a training saw."""
        again = np.empty_like(frames)
        for blob, out in zip(self.encoded(frames), again, strict=True):
            self.decoded(np.frombuffer(blob, np.uint8), out)
        return again

    def encode(self, source: Source) -> Encoded:
        """The frames of one video. Raises Unusable, or Unread."""
        box: Box | None = tuple(json.loads(source.variant)) if source.variant else None
        try:
            pictures = video.read(Path(source.path), self.size, box)
        except Unusable as fault:
            raise Unusable(fault.reason, fault.detail, "files.decodable") from fault
        frames = self.encoded(pictures.frames)
        return Encoded(b"".join(frames), {"sizes": [len(blob) for blob in frames], "rate": pictures.rate})
