"""Real mistakes, each seeded on purpose and reported by `check` with its code."""

import shutil

import numpy as np
import pytest
from faults import change, check, codes, usable_files

from trainers import registry
from trainers.data import emotions, recordings
from trainers.data.refusal_checks import LISTED
from trainers.engine import rng
from trainers.facenet_lstm import config as options
from trainers.facenet_lstm import file_checks
from trainers.facenet_lstm import sample as writer


def test_the_healthy_sample_is_passed_in_silence(sample, cache, request_of):
    report, code = check(request_of(sample, work=cache))
    assert code == 0
    assert codes(report) | codes(report, "warning") == set()
    assert report["skipped"] == []
    assert report["data"]["used"] == 240
    assert len(report["data"]["refused"]) == report["data"]["samples"] - 240 == 11


# Faults of the data


def test_an_unknown_key_name_leaves_no_sample_and_lists_the_actual_keys(copy, request_of):
    for path in usable_files(copy):
        change(path, writer._without_features)
    report, code = check(request_of(copy))
    assert code == 65
    (finding,) = [f for f in report["findings"] if f["code"] == "labels.nonempty"]
    assert "has no key video_features" in finding["message"]
    whys = [r["why"] for r in report["data"]["refused"] if "no key" in r["why"]]
    assert len(whys) == LISTED
    assert "it holds features, timestamps" in whys[0]


def test_swapped_contents_are_caught_by_the_video_they_name(copy, request_of):
    first, second = usable_files(copy)[0], usable_files(copy)[-1]
    first.rename(copy / "aside")
    second.rename(first)
    (copy / "aside").rename(second)
    report, code = check(request_of(copy))
    assert code == 64
    assert codes(report) == {"label.match"}


def test_a_file_that_the_system_cannot_give_ends_the_check_by_name(copy, request_of):
    path = usable_files(copy)[3]
    path.unlink()
    path.symlink_to("/proc/self/mem")
    report, code = check(request_of(copy))
    assert code == 65
    (finding,) = report["findings"]
    assert finding["code"] == "files.read"
    assert finding["message"] == f"{path} could not be read: Input/output error"


def test_unreadable_files_beyond_the_budget_are_refused_by_name(copy, request_of):
    for path in usable_files(copy)[::10]:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) // 2])
    report, code = check(request_of(copy))
    assert code == 64
    assert "schema.keys" in codes(report)
    assert "is no readable NPZ" in str(report["findings"])


def test_a_video_copied_to_an_actor_of_another_split_is_reported(copy, request_of):
    paths = {path.name: path for path in usable_files(copy)}
    homes = recordings.split_records(
        file_checks.scan({"crema": copy / "crema"}, options.Config()).records, options.Config()
    )
    train = next(id for id, split in homes.items() if split == "train")
    test = next(id for id, split in homes.items() if split == "test")
    source, target = (paths[f"{id[6:]}{file_checks.SUFFIX}.npz"] for id in (train, test))
    with np.load(source) as held:
        features = held["video_features"]
    change(target, lambda arrays: writer.arrays_like(arrays, features))
    report, _ = check(request_of(copy))
    assert codes(report) == {"dups"}


def test_a_class_that_is_missing_is_caught(copy, request_of):
    for path in usable_files(copy):
        if emotions.parse(file_checks.stem(path.name)).emotion_name == "sad":
            path.unlink()
    report, code = check(request_of(copy))
    assert code == 64
    assert codes(report) == {"balance"}


def test_embeddings_that_were_scaled_are_caught(copy, request_of):
    for path in usable_files(copy):
        change(path, lambda a: {**a, "video_features": a["video_features"] * 22.7})
    report, _ = check(request_of(copy))
    assert codes(report) == {"feature.unit"}


def test_columns_that_never_vary_or_copy_another_are_warned_about(copy, request_of):
    def flatten(arrays: dict) -> dict:
        values = arrays["video_features"].copy()
        values[:, 7], values[:, 9] = 0.0, values[:, 8]
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return {**arrays, "video_features": values}

    for path in usable_files(copy):
        change(path, flatten)
    report, _ = check(request_of(copy))
    assert codes(report, "warning") == {"feature.columns"}


def test_twins_of_one_take_on_both_sides_are_caught(copy, request_of, monkeypatch):
    for path in (copy / "ravdess").glob("Actor_*/02-01-0[13456]-01*.npz"):
        twin = path.with_name("01" + path.name[2:])
        shutil.copyfile(path, twin)
        change(twin, lambda a: {**a, "video_path": np.array("")})
    monkeypatch.setattr(recordings, "split_records", split_at_random)
    report, _ = check(request_of(copy, tier="files", twins="both"))
    messages = [f["message"] for f in report["findings"] if f["code"] == "split.groups"]
    assert any("takes" in text for text in messages)


# Faults of the recipe and its code


def split_at_random(records, config):
    order = rng.permutation(len(records), config.seed)
    share = len(records) * 0.7
    return {records[i].id: "train" if n < share else ("val", "test")[n % 2] for n, i in enumerate(order)}


def test_a_split_by_file_puts_actors_on_both_sides_and_is_caught(sample, cache, request_of, monkeypatch):
    monkeypatch.setattr(recordings, "split_records", split_at_random)
    report, code = check(request_of(sample, work=cache))
    assert code == 64
    assert codes(report) == {"split.groups", "split.stable"}


def test_a_folder_that_is_missing_or_unknown_is_named(sample, request_of):
    request = request_of(sample)
    request.data["creama"] = request.data.pop("crema")
    request.data["ravdess"] += "-gone"
    report, code = check(request)
    keys = {f["key"] for f in report["findings"] if f["code"] == "data.folders"}
    assert keys == {"data.creama", "data.ravdess"}
    assert code == 65


@pytest.mark.parametrize("tier", ["config", "files"])
def test_the_light_tiers_pass_the_sample_too(tier, sample, request_of):
    report, code = check(request_of(sample, tier=tier))
    assert code == 0
    assert codes(report) == set()


def test_every_trainer_has_the_same_rooms():
    for name in registry.names():
        assert registry.describe(name).data
        assert registry.trainer(name).name == name
        assert registry.part(name, "sample")
