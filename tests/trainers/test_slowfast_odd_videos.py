"""Videos as phones and browsers write them: turned, with other pixels, uneven times, longer sound."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from trainers.data.refusal import Unusable
from trainers.slowfast import video

CODECS = {"mp4": "libx264", "mkv": "libx264", "flv": "flv1", "webm": "libvpx"}
WIDTH, HEIGHT = 64, 48


def corner(count: int = 12) -> np.ndarray:
    """Grey pictures (T, H, W, 3) whose top left corner is white; each is a little darker than the last."""
    pictures = np.full((count, HEIGHT, WIDTH, 3), 90, np.uint8)
    pictures -= np.arange(count, dtype=np.uint8)[:, None, None, None]
    pictures[:, :16, 8:24] = 255
    return pictures


def write(
    path: Path,
    milliseconds: Sequence[int],
    aspect: Fraction | None = None,
    sound: float = 0.0,
) -> Path:
    """Write a picture of `corner` at each time, and `sound` seconds of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[path.suffix[1:]], rate=1000)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        other = (
            container.add_stream("libopus" if path.suffix == ".webm" else "aac", rate=48000)
            if sound
            else None
        )
        for time, picture in zip(milliseconds, corner(len(milliseconds)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if other:
            for start in range(0, int(48000 * sound), 1024):
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                silence.pts, silence.sample_rate, silence.time_base = start, 48000, Fraction(1, 48000)
                container.mux(other.encode(silence))
            container.mux(other.encode())
    return path


def brightest(picture: np.ndarray) -> tuple[int, int]:
    """The row and column, as halves (0 or 1), of the brightest quarter of a picture."""
    half = len(picture) // 2
    sums = [[picture[y : y + half, x : x + half].sum() for x in (0, half)] for y in (0, half)]
    place = int(np.argmax(sums))
    return place // 2, place % 2


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write the display matrix (a, b, c, d of ISO/IEC 14496-12) into the header of an MP4 file's track."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


EVEN = [40 * number for number in range(12)]


@pytest.mark.parametrize(
    ("matrix", "place"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),  # (x, y) is shown at (-y, x): turned clockwise
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((-1, 0, 0, 1), (0, 1)),  # as of front cameras: mirrored
        ((1, 0, 0, -1), (1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (1, 1)),
    ],
    ids=[
        *("upright", "clockwise", "half", "counter-clockwise"),
        *("mirrored", "mirrored half", "transposed", "transposed half"),
    ],
)
def test_a_video_is_turned_and_mirrored_as_its_display_matrix_says(tmp_path, matrix, place):
    frames = video.read(turn(write(tmp_path / "a.mp4", EVEN), matrix), 32).frames
    assert brightest(frames[0]) == place


def test_pixels_that_are_not_square_are_made_square(tmp_path):
    wide = video.read(write(tmp_path / "a.mp4", EVEN, Fraction(2, 1)), 48, (0, 0, 48, 48)).frames[0]
    columns = np.flatnonzero(wide[8, :, 0] > 200)
    assert (columns[0], columns[-1]) == (pytest.approx(16, abs=2), pytest.approx(47, abs=2))


UNEVEN = [0, 20, 40, 400, 420, 440, 900, 920, 940, 1500, 1520, 2000]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "webm"])
def test_pictures_at_uneven_times_are_judged_by_the_last_ones_time(tmp_path, suffix):
    decoded = video.read(write(tmp_path / f"a.{suffix}", UNEVEN), 32)
    assert len(decoded.frames) == len(UNEVEN)
    assert 4 < decoded.rate < 7


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_sound_may_be_longer_than_the_pictures(tmp_path, suffix):
    decoded = video.read(write(tmp_path / f"a.{suffix}", EVEN, sound=2.0), 32)
    assert len(decoded.frames) == len(EVEN)


def test_a_long_video_at_uneven_times_is_refused_by_its_time(tmp_path):
    with pytest.raises(Unusable, match="lasts longer than 20 s"):
        video.read(write(tmp_path / "a.mkv", [*UNEVEN, 30_000, 30_020]), 32)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_a_video_may_begin_at_a_later_time_than_zero(tmp_path, suffix):
    late = [time + 100_000 for time in UNEVEN]
    assert len(video.read(write(tmp_path / f"a.{suffix}", late), 32).frames) == len(late)


def test_a_short_video_of_very_many_frames_is_refused_by_their_number(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "MOST_FRAMES", 10)
    with pytest.raises(Unusable, match="has more than 10 frames"):
        video.read(write(tmp_path / "a.mkv", UNEVEN), 32)


def ffv1(path: Path, pictures: np.ndarray) -> Path:
    """Write pictures (T, H, W, 3) uint8 without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *pictures.shape[1:3], "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_video_whose_pictures_are_one_line_is_refused(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    assert len(video.read(ffv1(tmp_path / "a.mkv", pictures), 32).frames) == 12
    with pytest.raises(Unusable, match="has pictures of one line: they are 64x1"):
        video.read(ffv1(tmp_path / "b.mkv", pictures[:, :1]), 32)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.flv"])
def test_an_empty_file_is_a_refused_one(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(Unusable, match="is empty"):
        video.read(tmp_path / name, 32)


def test_a_refusal_names_no_folder_because_it_is_kept_in_the_cache(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"\0" * 5000)
    with pytest.raises(Unusable) as raised:
        video.read(tmp_path / "a.mp4", 32)
    assert str(tmp_path) not in str(raised.value)


def change_size(path: Path) -> Path:
    """Write two videos of one scene after each other, of which the second has twice the size."""
    content = b""
    for scale in (1, 2):
        with av.open(str(path), "w", format="mjpeg") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuvj420p"
            for picture in corner():
                large = picture.repeat(scale, 0).repeat(scale, 1)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
            container.mux(stream.encode())
        content += path.read_bytes()
    path.write_bytes(content)
    return path


def test_a_video_whose_pictures_change_their_size_shows_the_same_place(tmp_path):
    frames = video.read(change_size(tmp_path / "a.mp4"), 32).frames.astype(int)
    assert len(frames) == 24
    assert np.abs(frames[:12] - frames[12:]).mean() < 4
    with pytest.raises(Unusable, match=r"changes the size of its pictures.*64x48, then 128x96"):
        video.read(tmp_path / "a.mp4", 32, (0, 0, 48, 48))
    with pytest.raises(Unusable, match="changes the size"):
        video.whole(tmp_path / "a.mp4", 1)


@pytest.mark.parametrize("pixels", ["gray", "gray16le", "yuv420p10le", "yuv444p", "bgra"])
def test_pixels_of_other_kinds_are_the_same_picture(tmp_path, pixels):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for picture in corner():
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames = video.read(tmp_path / "a.mkv", 48).frames.astype(int)
    expected = corner()[:, :, 8:56].astype(int)
    assert np.abs(frames - expected).mean() < 3


def test_a_picture_called_video_has_too_few_frames(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(corner()[0]).save(tmp_path / "a.mp4", "JPEG")
    with pytest.raises(Unusable, match="has fewer than 8 frames: it has 1"):
        video.read(tmp_path / "a.mp4", 32)
