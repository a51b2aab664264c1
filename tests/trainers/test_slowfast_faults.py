"""Faults of data, code and recipe, seeded one by one: `check` catches each by its code."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from slowfast_kit import check, codes, folders, opened, tiny, write_manifest
from torch import nn

from trainers import registry
from trainers.engine import model_checks
from trainers.engine.config import unread
from trainers.engine.events import Silent
from trainers.slowfast import answers, checks, clips, network, pixels
from trainers.slowfast.data import Sample
from trainers.slowfast.model import Shape, SlowFast
from trainers.slowfast.trainer import SlowFastTrainer


def test_the_healthy_sample_is_passed_in_silence(videos, frames_cache):
    report, code = check(folders(videos), frames_cache)
    assert code == 0
    assert codes(report) | codes(report, "warning") == set()
    assert report["skipped"] == []
    assert (report["data"]["samples"], report["data"]["used"]) == (129, 120)
    assert report["packages"] == ["av", "simplejpeg"]
    assert Path(report["data"]["manifest"]).exists()


@pytest.mark.parametrize("seed", range(4))
def test_the_first_loss_of_the_whole_network_is_that_of_an_untrained_one(seed, videos, frames_cache):
    recipe = {"depths": (3, 4, 6, 3), "width": 64, "beta": 8, "batch_size": 2, "squeeze": True, "seed": seed}
    assert model_checks.first_loss(opened(videos, frames_cache, **recipe)) == []


def findings_of_check(code: str, kind: type, videos: Path, cache: Path) -> list:
    """Return the findings of one check of a faulty trainer."""
    trainer = kind.open(tiny(), folders(videos), cache, Silent())
    (check,) = [
        check for check in registry.checks("slowfast", kind) if (check.code, check.tier) == (code, "full")
    ]
    return check.ask(trainer)


def trainer_with(change):
    """Return a trainer that applies `change(sample, key)` to each sample before the model."""

    class Faulty(SlowFastTrainer):
        def sample(self, split, epoch, index):
            return change(super().sample(split, epoch, index), (epoch, index))

    return Faulty


def other(sample: Sample, **values: object) -> Sample:
    return Sample(**{**vars(sample), **values})


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("label.match", lambda s, key: other(s, label=(s.label + 1) % 6)),
        ("label.match", lambda s, key: other(s, frames=s.frames[..., ::-1].copy())),
        ("aug.off", lambda s, key: other(s, frames=np.roll(s.frames, key[0], 1))),
        ("aug.off", lambda s, key: other(s, looks=s.looks * 1.1)),
        ("norm.once", lambda s, key: other(s, frames=s.frames.astype(np.float32) / 255)),
        ("norm.saved", lambda s, key: other(s, frames=255 - s.frames)),
    ],
)
def test_samples_that_reach_the_model_wrongly_are_caught(code, change, videos, frames_cache):
    (finding,) = findings_of_check(code, trainer_with(change), videos, frames_cache)
    assert (finding.code, finding.severity) == (code, "error")


def test_augmentation_that_differs_per_frame_is_caught(videos, frames_cache, monkeypatch):
    def flicker(frames, size, looks):
        each = [pixels.centred(frames[:, t : t + 1], size) * (1 + 0.1 * t) for t in range(frames.shape[1])]
        return torch.cat(each, 1)

    monkeypatch.setattr(pixels, "augmented", flicker)
    (finding,) = findings_of_check("aug.clip", SlowFastTrainer, videos, frames_cache)
    assert "still clip" in finding.message


def test_test_clips_that_are_announced_and_ignored_are_caught(videos, frames_cache, monkeypatch):
    def first_alone(model, frames, config):
        with torch.no_grad():
            answer = model(pixels.centred(frames[:1], config.size)).softmax(1)
        return answer.expand(len(frames), -1)

    monkeypatch.setattr(clips, "spread", lambda config, length, count: [np.arange(8)] * count)
    monkeypatch.setattr(answers, "probabilities", first_alone)
    (finding,) = findings_of_check("tta.used", SlowFastTrainer, videos, frames_cache)
    assert finding.message == "test_clips and test_flip changes no answer"


def test_another_network_of_that_name_is_caught():
    r3d = nn.Conv3d(3, 6, 3)
    assert "Conv3d" in network.named(r3d, tiny())[0].message
    with torch.device("meta"):
        wide, right = SlowFast(Shape(6, depths=(3, 4, 6, 4))), SlowFast(Shape(6, squeeze=True))
    r50 = tiny(depths=(3, 4, 6, 3), width=64, beta=8)
    assert network.named(wide, r50)[0].code == "model.is"
    assert network.named(right, r50) == []


def test_frames_that_are_decoded_and_never_used_are_caught():
    class Skips(SlowFast):
        def forward(self, clip, keys=None):
            return super().forward(clip[:, ::2], keys)

    shape = Shape(6, depths=(1,), width=4, beta=2)
    (finding,) = network.frames_used(Skips(shape), tiny())
    assert finding.message.startswith("4 of 8 frames change nothing: 1, 3")


def test_a_network_that_averages_time_away_is_caught():
    class Still(SlowFast):
        def features(self, clip):
            return super().features(clip.mean(1, keepdim=True).expand_as(clip))

    (finding,) = network.sees_time(Still(Shape(6, depths=(1,), width=4, beta=2)), tiny())
    assert "slow and the fast" in finding.message


@pytest.fixture
def copied(videos, tmp_path):
    return Path(shutil.copytree(videos, tmp_path / "data", copy_function=os.link))


def test_one_video_under_two_names_on_both_sides_is_caught(copied, tmp_path):
    (copied / "crema" / "1002_IEO_HAP_LO.flv").unlink(missing_ok=True)
    source = next((copied / "crema").glob("1001_*_HAP_*.flv"))
    rows = []
    for path in sorted((copied / "crema").glob("100[1-6]_*_*_XX.flv")):
        rows.append({"path": str(path), "split": "val" if path.name < "1003" else "train"})
    double = copied / "crema" / "1006_IEO_HAP_LO.flv"
    shutil.copy(source, double)
    rows.append({"path": str(double), "split": "train"})
    splits = write_manifest(tmp_path / "splits" / "manifest.csv", rows)
    report, code = check({"crema": copied / "crema", "splits": splits}, tmp_path / "w", test_share=0.0)
    assert code == 64
    (finding,) = [f for f in report["findings"] if f["code"] == "dups"]
    assert "are in two splits" in finding["message"]


def test_undecodable_videos_beyond_the_budget_are_refused_by_name(copied, tmp_path):
    for path in sorted((copied / "crema").glob("*_XX.flv"))[::6]:
        path.unlink()
        path.write_bytes(b"no video")
    report, code = check({"crema": copied / "crema"}, tmp_path / "w")
    assert code == 64
    assert "files.decodable" in codes(report)
    assert "max_refused allows 5%" in str(report["findings"])


def test_folders_without_a_usable_video_end_with_65_and_name_the_first(tmp_path):
    (tmp_path / "crema").mkdir()
    (tmp_path / "crema" / "1001_TIE_ANG_XX.flv").write_bytes(b"none")
    report, code = check({"crema": tmp_path / "crema"}, tmp_path / "w")
    assert code == 65
    assert "1001_TIE_ANG_XX.flv" in str([f for f in report["findings"] if f["code"] == "labels.nonempty"])


def test_weights_that_do_not_fit_are_refused_before_anything_is_paid_for(videos, frames_cache, tmp_path):
    torch.save({"model_state": {"conv1.weight": torch.zeros(3)}}, tmp_path / "r3d18.pyth")
    report, code = check({**folders(videos), "weights": tmp_path}, frames_cache)
    assert code == 65
    assert codes(report) == {"weights.fit"}


def test_a_fold_that_has_no_effect_is_reported():
    (finding,) = [f for f in unread(tiny(), ["fold"]) if f.key == "fold"]
    assert "set folds" in finding.fix


def test_the_throughput_rule_names_a_loader_that_cannot_feed_the_step():
    assert network._judge(0.2, 0.1, 2)[0].code == "throughput"
    assert network._judge(0.05, 0.1, 2) == []


def test_a_video_shorter_than_a_clip_is_reported(videos, frames_cache):
    trainer = opened(videos, frames_cache)
    (finding,) = checks.short(trainer.replace(frames=48))
    assert (finding.severity, finding.key) == ("warning", "frames")
    assert checks.short(trainer) == []
