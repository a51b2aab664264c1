"""Encodes the frames of a video for the cache, one by one, as JPEG or raw. Does not import torch."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data.packed import Encoded, Source
from trainers.data.refusal import Unusable
from trainers.slowfast import video
from trainers.slowfast.upright import Box


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
