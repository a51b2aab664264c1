"""From video files to the network's input: decoding, the cache, clips, pixels."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slowfast_kit import folders, opened, tiny

from trainers.data import packed
from trainers.data.normalise import NormalisedTwice
from trainers.data.packed import Shard, Source
from trainers.data.refusal import Unusable
from trainers.engine import precision
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable
from trainers.slowfast import boxes, clips, decode, file_checks, frame_cache, pixels, sample, upright, video
from trainers.slowfast.decode import Kind
from trainers.slowfast.frame_cache import open_cache


def records(videos, count=None):
    return file_checks.scan(folders(videos), tiny()).records[:count]


def cache(root, some, workers=1, kind=None):
    return open_cache(root, some, kind or Kind(36, "jpeg"), {}, Silent(), workers)


def one_shard(root, videos, count=3) -> Shard:
    (shard,) = frame_cache.shards(root, records(videos, count), Kind(36, "jpeg"), {})
    return shard


def build(*shards: Shard, workers: int = 1) -> list[int]:
    counts: list[int] = []
    decode.build_all(shards, counts.append, workers)
    return counts


def test_every_frame_is_read_square_and_close_to_what_was_written(tmp_path):
    pictures = sample.frames(0, 1, 2, 3)
    sample.write_video(tmp_path / "a.mp4", pictures)
    decoded = video.read(tmp_path / "a.mp4", sample.HEIGHT)
    assert decoded.frames.shape == (sample.FRAMES, sample.HEIGHT, sample.HEIGHT, 3)
    assert decoded.rate == sample.RATE
    edge = (sample.WIDTH - sample.HEIGHT) // 2
    expected = pictures[:, :, edge : edge + sample.HEIGHT].astype(float)
    # Colour is stored at half the resolution and the noise is compressed away.
    assert np.abs(decoded.frames - expected).mean() < 12


def test_a_face_box_is_cut_out_and_one_beyond_the_picture_is_refused(tmp_path):
    pictures = np.zeros((10, 48, 64, 3), np.uint8)
    pictures[:, 10:20, 30:35] = 255
    sample.write_video(tmp_path / "a.mp4", pictures)
    decoded = video.read(tmp_path / "a.mp4", 8, (31, 11, 8, 8)).frames
    assert decoded[:, :, :3].mean() > 200
    assert decoded[:, :, 6:].mean() < 50
    with pytest.raises(Unusable, match="face box"):
        video.read(tmp_path / "a.mp4", 8, (60, 0, 20, 20))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("crema/1010_IEO_ANG_LO.flv", "is empty"),
        ("crema/1010_IEO_ANG_MD.flv", "fewer than 8 frames"),
        ("crema/1010_IEO_ANG_HI.flv", "shows one colour"),
        ("ravdess/Actor_10/02-01-05-02-02-02-10.mp4", "cannot be decoded"),
    ],
)
def test_a_broken_video_is_refused_with_its_reason(name, message, videos):
    with pytest.raises(Unusable, match=message):
        video.read(videos / name, 36)


def test_a_video_that_ends_before_its_time_is_refused(tmp_path):
    sample.write_video(tmp_path / "a.flv", np.concatenate([sample.frames(0, 1, 2, 3)] * 3), "flv")
    content = (tmp_path / "a.flv").read_bytes()
    (tmp_path / "a.flv").write_bytes(content[: len(content) // 2])
    with pytest.raises(Unusable, match=r"ends before its time|cannot be decoded"):
        video.read(tmp_path / "a.flv", 36)


UNREADABLE = Path("/proc/self/mem")
"""A file that is there and gives EIO."""


def test_a_system_error_while_decoding_is_not_cached_as_a_refusal(tmp_path):
    with pytest.raises(DataUnusable, match=f"{UNREADABLE} could not be read: Input/output error"):
        video.read(UNREADABLE, 36)
    with pytest.raises(DataUnusable, match=r"gone.mp4 could not be read: No such file"):
        video.read(tmp_path / "gone.mp4", 36)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_cannot_read_a_video_names_it_and_leaves_no_shard(workers, videos, tmp_path):
    good = one_shard(tmp_path / "cache", videos, 1)
    bad = replace(good, sources=(*good.sources, Source("bad", str(UNREADABLE), 0, 0)))
    Path(good.root).mkdir()
    with pytest.raises(DataUnusable, match=f"{UNREADABLE} could not be read: Input/output error"):
        build(bad, bad, workers=workers)
    assert list(Path(good.root).iterdir()) == []


@pytest.mark.parametrize(
    ("death", "message"),
    [
        ("os.kill(os.getpid(), 9)", "killed by SIGKILL; possibly out of memory"),
        ("sys.exit('what')", "1: what"),
    ],
)
def test_a_crashed_decoder_process_is_reported_with_its_video(death, message, videos, tmp_path, monkeypatch):
    shard = one_shard(tmp_path, videos, 3)
    second = shard.sources[1].path
    script = f"import json, os, sys; print(json.dumps('first')); print({json.dumps(second)!r}, flush=True); "
    right = subprocess.run
    monkeypatch.setattr(
        decode.subprocess,
        "run",
        lambda words, **more: right([sys.executable, "-c", script + death], **more),
    )
    with pytest.raises(decode.Failed, match=f"^{second}: the process that decoded it ended, .*{message}"):
        build(shard, shard, workers=2)


def test_an_overlong_video_is_refused_before_its_frames_fill_memory(tmp_path, monkeypatch):
    sample.write_video(tmp_path / "a.mp4", np.concatenate([sample.frames(0, 1, 2, 3)] * 4))
    kept, right = [], upright.scaled
    monkeypatch.setattr(video, "LONGEST", 1.0)
    counted = lambda *some, steady: (kept.append(1) or one for one in right(*some, steady))  # noqa: E731
    monkeypatch.setattr(upright, "scaled", counted)
    with pytest.raises(Unusable, match="lasts longer than 1 s: 4 s"):
        video.read(tmp_path / "a.mp4", 36)
    assert len(kept) == sample.RATE


def test_a_video_in_a_folder_that_is_no_utf8_is_decoded(videos, tmp_path):
    path = tmp_path / os.fsdecode(b"vid\xe9os") / "a.flv"
    path.parent.mkdir()
    path.symlink_to(records(videos, 1)[0].path)
    assert len(video.read(path, 36).frames) == sample.FRAMES


def test_a_missing_package_is_one_line_with_the_install_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(video.MissingPackage, match="pip install av simplejpeg"):
        video.av()


def test_cached_frames_equal_those_that_predict_decodes(videos, tmp_path):
    some = records(videos, 2)
    for form in ("jpeg", "raw"):
        cached = cache(tmp_path, some, kind=Kind(36, form))
        fresh = Kind(36, form).as_kept(video.read(some[1].path, 36).frames)
        expected = np.array([5, 5, 0, 23])
        assert (cached.frames(some[1].id, expected) == fresh[expected]).all()


def test_a_partial_cache_is_continued_and_a_changed_one_detected(videos, tmp_path):
    shard = one_shard(tmp_path, videos)
    build(shard)
    assert packed.is_complete(shard.folder)
    frames, index = shard.folder / packed.RECORDS, shard.folder / packed.INDEX
    frames.write_bytes(frames.read_bytes()[:-5])
    assert not packed.is_complete(shard.folder)
    build(shard)
    cached = cache(tmp_path, records(videos, 3))
    assert cached.damaged() == {}
    content = bytearray(frames.read_bytes())
    content[100] ^= 255
    frames.write_bytes(content)
    assert len(cache(tmp_path, records(videos, 3)).damaged()) == 1
    index.unlink()
    assert cache(tmp_path, records(videos, 3)).damaged() == {}


def test_only_missing_shards_are_built(videos, tmp_path, monkeypatch):
    some = records(videos, 4)
    cache(tmp_path, some)
    monkeypatch.setattr(decode, "build_all", lambda *_, **more: pytest.fail("decoded twice"))
    assert set(cache(tmp_path, some).rows) == {record.id for record in some}


def test_processes_make_the_same_shards(videos, tmp_path):
    here, in_processes = (one_shard(tmp_path / name, videos, 2) for name in ("a", "b"))
    assert build(here) == [1, 1]
    assert build(in_processes, in_processes, workers=2) == [2, 2]
    for name in (packed.RECORDS, packed.INDEX):
        assert (here.folder / name).read_bytes() == (in_processes.folder / name).read_bytes()


def test_face_boxes_are_required_for_every_video(videos, tmp_path):
    (tmp_path / "faces.csv").write_text("name,x,y,width,height\n1001_TIE_ANG_XX.flv,1,2,30,40\n")
    assert boxes.read(tmp_path) == {"1001_TIE_ANG_XX": (1, 2, 30, 40)}
    with pytest.raises(boxes.BadBoxes, match="have no line in faces"):
        boxes.of(records(videos, 2), {"ravdess": tmp_path, "crema": tmp_path})


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(2, 64), st.integers(1, 4), st.integers(8, 300))
def test_clip_frames_are_in_order_and_span_the_video(start, frames, stride, length):
    expected = clips.frame_indices(start, frames, stride, length)
    assert len(expected) == frames
    assert expected.min() >= 0
    assert expected.max() < length
    assert (np.diff(expected) >= 0).all()
    if (frames - 1) * stride < length:
        assert (np.diff(expected) == stride).all()
    else:
        assert (expected[0], expected[-1]) == (0, length - 1)


def test_test_clips_reach_from_the_first_frame_to_the_last():
    expected = clips.spread(tiny(), 24, 3)
    assert (expected[0][0], expected[-1][-1]) == (0, 23)


def test_a_random_clip_depends_on_its_seed_and_repeats_dropped_frames():
    config = tiny(frames=16, drop_frames=0.5, reverse=0.0)
    first, again = clips.draw(config, 24, 9), clips.draw(config, 24, 9)
    assert (first.frames == again.frames).all()
    assert (first.look == again.look).all()
    steps = np.diff(first.frames)
    assert (steps == 0).sum() >= 3
    assert set(first.frames) <= set(range(24))
    assert (np.diff(clips.draw(tiny(reverse=1.0, drop_frames=0.0), 24, 9).frames) == -1).all()


def frames(count=4):
    return torch.randint(0, 256, (2, count, 36, 36, 3), dtype=torch.uint8, generator=torch.manual_seed(0))


def test_no_augmentation_gives_the_centre_crop():
    looks = torch.from_numpy(np.stack([clips.unchanged(tiny())] * 2))
    got = pixels.augmented(frames(), 32, looks)
    assert torch.allclose(got, pixels.centred(frames(), 32), atol=1e-4)


@pytest.mark.parametrize("word", range(5))
def test_augmentation_is_the_same_for_every_frame_of_a_clip(word):
    config = tiny(cutout=1.0, rotate=20.0, colour=0.5)
    looks = torch.from_numpy(np.stack([clips.draw(config, 24, word + n).look for n in range(2)]))
    still = frames(1).repeat(1, 4, 1, 1, 1)
    augmented = pixels.augmented(still, 32, looks)
    with precision.autocast("bf16", torch.device("cpu")):
        assert torch.equal(pixels.augmented(still, 32, looks), augmented)
    assert torch.equal(augmented, augmented[:, :1].expand_as(augmented))
    assert not torch.allclose(augmented, pixels.centred(still, 32), atol=0.1)


def test_a_flip_mirrors_and_a_cut_is_grey():
    look = clips.unchanged(tiny())
    look[0] = -look[0]
    got = pixels.augmented(frames(), 32, torch.from_numpy(np.stack([look] * 2)))
    assert torch.allclose(got, pixels.centred(frames(), 32).flip(-1), atol=1e-4)
    look[9:13] = (0.0, 0.0, 0.25, 0.5)
    cut = pixels.augmented(frames(), 32, torch.from_numpy(np.stack([look] * 2)))
    assert (cut == 0).all(2).sum() == 2 * 4 * 8 * 16


def test_frames_that_were_normalised_before_are_refused():
    with pytest.raises(NormalisedTwice):
        pixels.normalised(frames().float())


def test_samples_do_not_depend_on_the_order_in_which_they_are_read(videos, frames_cache):
    trainer = opened(videos, frames_cache)
    first = [trainer.sample("train", 1, place).frames for place in (0, 1, 2)]
    again = [trainer.sample("train", 1, place).frames for place in (2, 1, 0)][::-1]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == trainer.sample("train", 2, 0).frames).all()


def test_the_manifest_of_a_run_has_the_reason_for_each_unused_file(videos, frames_cache):
    text = Path(opened(videos, frames_cache).data.listing.facts["manifest"]).read_text()
    assert "crema/1010_IEO_ANG_HI.flv,,,,,,,,shows one colour" in text
    assert len(text.splitlines()) == 130


def test_an_index_contains_the_frame_rate_of_a_video(videos, tmp_path):
    shard = one_shard(tmp_path, videos, 1)
    build(shard)
    (row,) = json.loads((shard.folder / packed.INDEX).read_text())["rows"]
    assert (row["rate"], len(row["sizes"])) == (24.0, 24)
