"""Decodes video files with PyAV, and encodes and decodes JPEG with simplejpeg. Does not import torch."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trainers.data.refusal import Unusable, read_or_stop
from trainers.data.walk import require_content
from trainers.slowfast import upright
from trainers.slowfast.upright import Box

T = TypeVar("T")

QUALITY = 92
LEAST_FRAMES = 8
LONGEST = 20.0
"""Longest accepted video in seconds; a recording of one sentence is shorter."""

MOST_FRAMES = 2600
"""Largest number of frames, 130 a second for LONGEST; limits the memory of a video without times."""

VERSION = 4
"""Increases whenever a video gives other frames than before; part of the cache's key."""


class MissingPackage(Exception):
    """Raised if PyAV or simplejpeg is not installed."""


def av() -> Any:
    """Import PyAV and silence its log. Raises MissingPackage."""
    try:
        import av  # noqa: PLC0415 - only this trainer needs it
    except ImportError as fault:
        raise MissingPackage("slowfast reads videos with PyAV: pip install av simplejpeg") from fault
    av.logging.set_level(None)
    return av


def simplejpeg() -> Any:
    """Import simplejpeg. Raises MissingPackage."""
    try:
        import simplejpeg  # noqa: PLC0415 - only this trainer needs it
    except ImportError as fault:
        raise MissingPackage("slowfast stores frames with simplejpeg: pip install av simplejpeg") from fault
    return simplejpeg


@dataclass(frozen=True)
class Video:
    """A decoded video: frames (T, S, S, 3) uint8 RGB, and `rate` in frames per second."""

    frames: np.ndarray
    rate: float


class _File(io.FileIO):
    """A file that records read errors, which the decoder would report as end of file or as a broken file."""

    fault: OSError | None = None

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes; on an error, store it in `fault` and return no bytes."""
        try:
            return super().read(size) or b""
        except OSError as fault:
            self.fault = fault
            return b""


def read(path: Path, size: int, box: Box | None = None) -> Video:
    """Decode every frame, cropped to the box or else to the largest central square, and scaled to `size`.

    Raises Unusable if the video is broken, too short or too long, Unread if the file cannot be read.
    """
    library = av()
    require_content(path)
    with read_or_stop(path), _opened(path) as file:
        return _decoding(
            library, file, lambda container, stream: _video(library, container, stream, size, box)
        )


@contextmanager
def _opened(path: Path) -> Iterator[_File]:
    """The file for the decoder. Raises the error of reading it, of which the decoder knows nothing."""
    with _File(str(path)) as file:
        try:
            yield file
        finally:
            if file.fault is not None:
                raise file.fault


def _decoding(library: Any, file: _File, use: Callable[[Any, Any], T]) -> T:
    """Open the file, and `use` its container and first video stream. Raises Unusable."""
    try:
        with library.open(file) as container:
            if not container.streams.video:
                raise Unusable("holds no pictures")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            return use(container, stream)
    except MemoryError:
        raise
    except (library.FFmpegError, ValueError, EOFError) as fault:
        raise Unusable("cannot be decoded", _reason(fault)) from fault


def _video(library: Any, container: Any, stream: Any, size: int, box: Box | None) -> Video:
    course = _Course(stated=_seconds(stream, container))
    pictures = course.of(_pictures(container, stream, course))
    build = partial(upright.cropped, library, size, box, float(stream.sample_aspect_ratio or 1))
    frames = np.array(list(upright.scaled(build, pictures, steady=box is not None)), dtype=np.uint8)
    rate = course.rate(len(frames), float(stream.average_rate or 0))
    _judge(frames, rate, course)
    return Video(frames, rate)


def _reason(fault: Exception) -> str:
    """The decoder's message without the path, because a cached refusal may be shown for a moved folder."""
    return str(getattr(fault, "strerror", "") or fault).split("\n")[0]


@dataclass
class _Course:
    """The times of a video in seconds: first and last picture, end of all streams, and the stated length."""

    stated: float
    first: float | None = None
    last: float = 0.0
    end: float = 0.0

    def of(self, pictures: Iterator[Any]) -> Iterator[Any]:
        """Yield the pictures. Raises Unusable after LONGEST seconds: a long video would fill the memory."""
        for number, picture in enumerate(pictures, 1):
            if picture.time is not None:
                self.first = picture.time if self.first is None else self.first
                self.last = max(self.last, picture.time - self.first)
            if self.last >= LONGEST:
                raise Unusable(f"lasts longer than {LONGEST:.0f} s", f"{max(self.stated, self.last):.0f} s")
            if number > MOST_FRAMES:
                raise Unusable(f"has more than {MOST_FRAMES} frames", f"{self.last:.1f} s of them")
            yield picture

    def rate(self, count: int, stated: float) -> float:
        """Frames per second: the stated rate, unless the times of the pictures contradict it.

        Raises Unusable if there is neither.
        """
        measured = (count - 1) / self.last if count > 1 and self.last > 0 else 0.0
        if measured and not 0.95 < stated / measured < 1.05:
            return measured
        if stated <= 0:
            raise Unusable("does not state its frame rate")
        return stated


def _pictures(container: Any, stream: Any, course: _Course) -> Iterator[Any]:
    """Decode the pictures; note in `course` where the other streams end, as sound may be longer."""
    others = [other for other in container.streams.audio if other.time_base]
    for packet in container.demux([stream, *others]):
        if packet.stream is stream or packet.stream.index == stream.index:
            yield from packet.decode()
        elif packet.pts is not None:
            course.end = max(course.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))


def whole(path: Path, every: int) -> list[np.ndarray]:
    """Decode each `every`-th picture, upright and with square pixels: (H, W, 3) uint8 RGB.

    Raises Unusable if the video cannot be decoded or is too long, Unread if the file cannot be read.
    """
    library = av()
    require_content(path)
    with read_or_stop(path), _opened(path) as file:
        return _decoding(library, file, lambda container, stream: _whole(library, container, stream, every))


def _whole(library: Any, container: Any, stream: Any, every: int) -> list[np.ndarray]:
    course = _Course(stated=_seconds(stream, container))
    pictures = islice(course.of(_pictures(container, stream, course)), 0, None, every)
    build = partial(upright.whole, library, float(stream.sample_aspect_ratio or 1))
    return list(upright.scaled(build, pictures, steady=True))


def _seconds(stream: Any, container: Any) -> float:
    """Return the duration in seconds that the file states; 0 if it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # Matroska states the time of the end, from which a clip that was cut from a longer video starts late.
    start = (container.start_time or 0) if "matroska" in container.format.name else 0
    return float(max(0, (container.duration or 0) - start)) / 1e6


def _judge(frames: np.ndarray, rate: float, course: _Course) -> None:
    if len(frames) < LEAST_FRAMES:
        raise Unusable(f"has fewer than {LEAST_FRAMES} frames", f"it has {len(frames)}")
    shown = course.last + 1 / rate if course.last else len(frames) / rate
    if max(shown, course.end) < 0.8 * course.stated:
        raise Unusable("ends before its time", f"{shown:.1f} of {course.stated:.1f} s could be decoded")
    if frames[:: max(1, len(frames) // 8)].std() < 1.0:
        raise Unusable("shows one colour")


def encode(frames: np.ndarray) -> list[bytes]:
    """Encode frames (T, S, S, 3) uint8 as JPEG."""
    write = simplejpeg().encode_jpeg
    return [
        write(np.ascontiguousarray(frame), quality=QUALITY, colorspace="RGB", colorsubsampling="420")
        for frame in frames
    ]


def decode(blob: Any, out: np.ndarray) -> None:
    """Decode one JPEG into `out` (S, S, 3) uint8."""
    simplejpeg().decode_jpeg(blob, "RGB", fastdct=True, fastupsample=True, buffer=out)
