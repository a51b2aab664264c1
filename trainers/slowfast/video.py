"""Decodes video files with PyAV, and encodes and decodes JPEG with simplejpeg. Does not import torch."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data.refusal import Unusable, read_or_stop

QUALITY = 92
LEAST_FRAMES = 8
LONGEST = 20.0
"""Longest accepted video in seconds; a recording of one sentence is shorter."""

Box = tuple[int, int, int, int]
"""A rectangle: x, y, width and height in pixels of the video."""


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
    with read_or_stop(path), _File(str(path)) as file:
        try:
            return _decoded(library, file, size, box)
        finally:
            if file.fault is not None:
                raise file.fault


def _decoded(library: Any, file: _File, size: int, box: Box | None) -> Video:
    try:
        with library.open(file) as container:
            if not container.streams.video:
                raise Unusable("holds no pictures")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate, length = float(stream.average_rate or 0), _seconds(stream, container)
            pictures = _short(container.decode(stream), rate, length)
            frames = np.array(list(_scaled(library, pictures, size, box)), dtype=np.uint8)
    except MemoryError:
        raise
    except (library.FFmpegError, ValueError, EOFError) as fault:
        raise Unusable("cannot be decoded", str(fault).split("\n")[0]) from fault
    _judge(frames, rate, length)
    return Video(frames, rate)


def _short(pictures: Iterator[Any], rate: float, length: float) -> Iterator[Any]:
    """Yield the pictures. Raises Unusable after LONGEST seconds: a long video would fill the memory."""
    if rate <= 0:
        raise Unusable("does not state its frame rate")
    for number, picture in enumerate(pictures, 1):
        if number > LONGEST * rate:
            raise Unusable(f"lasts longer than {LONGEST:.0f} s", f"{max(length, number / rate):.0f} s")
        yield picture


def _scaled(library: Any, pictures: Iterator[Any], size: int, box: Box | None) -> Iterator[np.ndarray]:
    graph = None
    for picture in pictures:
        if graph is None:
            graph = _graph(library, picture, size, box)
        graph.push(picture)
        yield graph.pull().to_ndarray(format="rgb24")


def _graph(library: Any, picture: Any, size: int, box: Box | None) -> Any:
    """Build the filter graph that crops, then scales by area averaging, so that every pixel counts."""
    side = min(picture.width, picture.height)
    x, y, wide, high = box or ((picture.width - side) // 2, (picture.height - side) // 2, side, side)
    if x < 0 or y < 0 or wide < 2 or high < 2 or x + wide > picture.width or y + high > picture.height:
        raise Unusable("its face box is not within the picture", f"{box} of {picture.width}x{picture.height}")
    graph = library.filter.Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
    )
    steps = [
        source,
        graph.add("crop", f"{wide}:{high}:{x}:{y}:exact=1"),
        graph.add("scale", f"{size}:{size}:flags=area"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    return graph


def _seconds(stream: Any, container: Any) -> float:
    """Return the duration in seconds that the file states; 0 if it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _judge(frames: np.ndarray, rate: float, length: float) -> None:
    if len(frames) < LEAST_FRAMES:
        raise Unusable(f"has fewer than {LEAST_FRAMES} frames", f"it has {len(frames)}")
    if len(frames) / rate < 0.8 * length:
        detail = f"{len(frames) / rate:.1f} of {length:.1f} s could be decoded"
        raise Unusable("ends before its time", detail)
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
