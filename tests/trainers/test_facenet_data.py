"""The files of facenet-lstm: sample, names, refusals, cache, statistics."""

import errno
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator.onhost import folders
from trainers.data import normalise, packed, recordings, refusal_checks, samples
from trainers.data.refusal import Unusable
from trainers.data.sign import reading
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable
from trainers.facenet_lstm import data, file_checks
from trainers.facenet_lstm import sample as writer
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.trainer import FacenetTrainer, Sample


def listing(folder: Path, **options: object) -> recordings.Listing:
    return file_checks.scan({"both": folder}, Config(**options))


def test_the_sample_is_a_function_of_its_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        writer.write(tmp_path / name, 240, seed, Silent())
    digests = {
        name: [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((tmp_path / name).rglob("*.npz"))[::20]
        ]
        for name in "abc"
    }
    assert digests["a"] == digests["b"] != digests["c"]


def test_the_sample_has_the_statistics_of_real_embeddings(tmp_path):
    writer.write(tmp_path, 240, 0, Silent())
    paths = [writer.file_of(tmp_path, name) for name in samples.recording_names(240, writer.ACTORS)]
    values = np.concatenate([data.read_npz(path, 8) for path in paths[::4]])
    assert values.dtype == np.float32
    assert abs(values.std() - 0.0441) < 1e-3
    assert abs(values.mean() + 0.002) < 2e-3
    assert np.allclose(np.linalg.norm(values, axis=1), 1.0, atol=1e-5)
    assert 0.12 < np.abs(values).max() < 0.16
    assert 50 < len(values) / len(paths[::4]) < 64


def npz(path: Path, **changes: object) -> Path:
    features = np.random.default_rng(0).standard_normal((9, 512)).astype(np.float32)
    arrays = {**writer.arrays(path.stem, features), **changes}
    samples.write_npz(path, {k: v for k, v in arrays.items() if v is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video_features": None}, "has no key video_features: it holds timestamps, video_path"),
        ({"video_features": np.zeros((9, 128), np.float32)}, r"is not \(T, 512\): it is \(9, 128\)"),
        ({"video_features": np.zeros((9, 512), np.int64)}, "is not of floating point: it is int64"),
        ({"video_features": np.zeros((9, 512), np.float32)}, "every time step is the same"),
        ({"video_features": np.full((9, 512), np.inf)}, "holds NaN or infinity: 4608 of 4608"),
        ({"timestamps": np.zeros(8)}, "differ in length: 8 and 9"),
        ({"timestamps": np.array(2.0)}, r"are not numbers \(T,\): they are float64 \(\)"),
        ({"timestamps": np.arange(9.0)[::-1]}, "not in the order of time: step 1 at 7 s, after 8 s"),
        ({"timestamps": np.full(9, np.nan)}, "not in the order of time: step 1 at nan s"),
    ],
)
def test_a_file_is_refused_with_its_reason(changes, message, tmp_path):
    with pytest.raises(Unusable, match=message):
        data.read_npz(npz(tmp_path / "1001_DFA_ANG_XX.npz", **changes), 8)


def test_a_short_video_and_a_text_are_refused(tmp_path):
    with pytest.raises(Unusable, match="fewer than 10 time steps: it has 9"):
        data.read_npz(npz(tmp_path / "a.npz"), 10)
    (tmp_path / "b.npz").write_text("not an archive")
    with pytest.raises(Unusable, match="is no readable NPZ"):
        data.read_npz(tmp_path / "b.npz", 8)


def names(folder: Path, *stems: str) -> None:
    folder.mkdir(exist_ok=True)
    for stem in stems:
        (folder / f"{stem}.npz").write_text(stem)


def test_options_leave_files_out_by_name_and_never_in_silence(tmp_path):
    names(tmp_path, "02-01-02-01-01-01-01", "02-01-08-01-01-01-01", "02-02-03-01-01-01-01")
    assert listing(tmp_path).records == ()
    reasons = {refusal.reason for refusal in listing(tmp_path).refused}
    message = ("calm: drop", "surprised: drop", "song: drop")
    assert reasons == {f"left out by the option {option}" for option in message}
    records = listing(tmp_path, calm="neutral", surprised="neutral", song="keep").records
    assert [record.label for record in records] == ["neutral", "neutral", "happy"]


def test_of_two_files_of_a_take_the_video_only_one_is_used(tmp_path):
    names(tmp_path, "01-01-03-01-01-01-01", "02-01-03-01-01-01-01")
    assert [r.id for r in listing(tmp_path).records] == ["ravdess/02-01-03-01-01-01-01"]
    assert "twins: one" in listing(tmp_path).refused[0].why
    assert len(listing(tmp_path, twins="both").records) == 2


def test_a_name_that_occurs_twice_is_refused_once(tmp_path):
    names(tmp_path, "1001_DFA_ANG_XX", "1001_DFA_ANG_XX_facenet_features")
    scanned = listing(tmp_path)
    assert len(scanned.records) == 1
    assert "has the same name" in scanned.refused[0].why


def test_a_copy_in_another_folder_is_not_a_broken_file(tmp_path):
    names(tmp_path / "Actor_01", "02-01-03-01-01-01-01", "02-01-04-01-01-01-01")
    shutil.copytree(tmp_path / "Actor_01", tmp_path / "audio_speech" / "Actor_01")
    (tmp_path / "audio_speech" / "Actor_01" / "02-01-04-01-01-01-01.npz").write_text("another take")
    scanned = listing(tmp_path)
    assert len(scanned.records) == 2
    assert [(r.reason, r.broken) for r in scanned.refused] == [
        ("is a copy of another file", False),
        ("the name occurs twice", True),
    ]


def test_files_that_their_authors_call_broken_are_left_out(tmp_path):
    names(tmp_path, "1064_TIE_SAD_XX", "1064_IEO_DIS_MD")
    assert [r.reason for r in listing(tmp_path).refused] == ["listed as broken by CREMA-D"] * 2


def test_a_message_names_five_of_many_files_and_the_report_lists_them(tmp_path):
    names(tmp_path, *(f"nobody-{number}" for number in range(198)), "1001_DFA_ANG_XX")
    survey = file_checks.scan({"crema": tmp_path}, Config())
    (finding,) = refusal_checks.refusals(survey, "labels.parse")
    assert finding.message.count("nobody-") == 2 * 5
    assert finding.message.endswith("; and 193 more")
    assert len(survey.report()["refused"]) == 198


def test_a_cache_contains_the_exact_features_and_is_reused(sample, tmp_path):
    scanned = listing(sample)
    built: list[str] = []

    class Counting(Silent):
        def __call__(self, event: str, **fields: object) -> None:
            built.append(event)

    first = data.open_cache(tmp_path, scanned, 8, Counting())
    assert built
    built.clear()
    second = data.open_cache(tmp_path, scanned, 8, Counting())
    assert built == []
    assert first.rows == second.rows
    record = next(record for record in scanned.records if record.id in first.rows)
    assert np.array_equal(second.features(record.id), data.read_npz(record.path, 8))
    assert second.damaged() == {}


def test_a_partial_cache_is_rebuilt_and_a_changed_one_detected(sample, tmp_path):
    scanned = listing(sample)
    cache = data.open_cache(tmp_path, scanned, 8, Silent())
    file = cache.folders[0] / packed.RECORDS
    content = file.read_bytes()
    file.write_bytes(content[:-4])
    assert data.open_cache(tmp_path, scanned, 8, Silent()).damaged() == {}
    file.write_bytes(b"\0" * 4 + content[4:])
    assert len(data.open_cache(tmp_path, scanned, 8, Silent()).damaged()) == 1


def test_a_file_that_changes_makes_another_cache_and_another_fingerprint(copy, tmp_path):
    before = FacenetTrainer.load(Config(), {"both": copy}, tmp_path / "c", Silent())
    path = before.records[0].path
    features = data.read_npz(path, 8)[::-1]
    name = file_checks.stem(path.name)
    path.unlink()
    samples.write_npz(path, writer.arrays(name, features))
    after = FacenetTrainer.load(Config(), {"both": copy}, tmp_path / "c", Silent())
    assert after.cache.folders != before.cache.folders
    assert after.fingerprint != before.fingerprint


def test_data_that_moves_keeps_its_fingerprint(sample, copy, cache):
    prints = {
        FacenetTrainer.load(Config(), {"both": folder}, cache / "moved", Silent()).fingerprint
        for folder in (sample, copy)
    }
    assert len(prints) == 1


def test_other_splits_of_the_same_files_have_another_fingerprint(sample, cache):
    prints = {
        FacenetTrainer.load(Config(seed=seed), {"both": sample}, cache / "moved", Silent()).fingerprint
        for seed in (1, 2)
    }
    assert len(prints) == 2


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_a_system_error_stops_the_check_and_is_not_cached(fault, sample, tmp_path, monkeypatch):
    bad, right = listing(sample).records[5], Path.read_bytes

    def failing(path: Path) -> bytes:
        if path == bad.path:
            raise fault
        return right(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(DataUnusable, match=f"{bad.path} could not be read: (Input/output|out of memory)"):
        data.open_cache(tmp_path, listing(sample), 8, Silent())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert bad.id in data.open_cache(tmp_path, listing(sample), 8, Silent()).rows


def test_an_archive_that_needs_too_much_memory_is_not_cached_as_refused(tmp_path, monkeypatch):
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    path = npz(tmp_path / "1001_DFA_ANG_XX.npz")
    monkeypatch.setattr(np, "load", exhausted)
    with pytest.raises(DataUnusable, match="out of memory"):
        data.read_npz(path, 8)
    with pytest.raises(DataUnusable, match="out of memory"):
        reading.read(path, 8)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    def denied(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(DataUnusable, match=f"{tmp_path} could not be read: Permission denied"):
        listing(tmp_path)


def test_a_data_folder_may_be_a_link(sample, tmp_path):
    (tmp_path / "link").symlink_to(sample)
    assert listing(tmp_path / "link").count == 251


def test_linked_folders_are_counted_as_they_are_sent_and_loops_end(tmp_path):
    names(tmp_path / "disk2", "1001_DFA_ANG_XX")
    names(tmp_path / "data", "1002_DFA_ANG_XX")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "disk2")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "disk2")
    (tmp_path / "disk2" / "back").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "loop").symlink_to("loop")
    scanned = listing(tmp_path / "data")
    assert [record.id for record in scanned.records] == ["crema/1001_DFA_ANG_XX", "crema/1002_DFA_ANG_XX"]
    assert scanned.count == 3 == folders.describe("d", str(tmp_path / "data")).files


def test_a_broken_link_is_refused_by_name_and_its_duplicate_used(tmp_path):
    names(tmp_path, "01-01-03-01-01-01-01", "1001_DFA_ANG_XX")
    for stem in ("02-01-03-01-01-01-01", "1002_DFA_ANG_XX"):
        (tmp_path / f"{stem}.npz").symlink_to(".git/annex/objects/gone")
    scanned = FacenetTrainer.load(Config(), {"both": tmp_path}, tmp_path / "w", Silent())
    refused = {refusal.path.stem: refusal.why for refusal in scanned.refused if refusal.code == "files.there"}
    message = "is a link to nothing: .git/annex/objects/gone; run git annex get in its repository"
    assert refused == {"02-01-03-01-01-01-01": message, "1002_DFA_ANG_XX": message}
    assert [record.id for record in listing(tmp_path).records] == [
        *("crema/1001_DFA_ANG_XX", "ravdess/01-01-03-01-01-01-01")
    ]


def test_statistics_equal_those_of_numpy_and_survive_json():
    draw = np.random.default_rng(0)
    arrays = [draw.normal(3, 2, (steps, 5)).astype(np.float32) for steps in (4, 9, 30)]
    fitted = normalise.fit(arrays, ["a", "b", "c"])
    everything = np.concatenate(arrays)
    assert np.allclose(fitted.mean, everything.mean(0), rtol=1e-5)
    assert np.allclose(fitted.std, everything.std(0), rtol=1e-5)
    again = normalise.Normaliser.from_dict(fitted.as_dict())
    assert np.array_equal(again.mean, fitted.mean)
    assert np.array_equal(again.std, fitted.std)


def test_a_tiny_std_is_raised_to_the_floor():
    std = normalise.floored(np.array([1.0, 1.0, 1e-9]))
    assert std.tolist() == [1.0, 1.0, 1e-3]
    assert normalise.floored(np.zeros(3)).tolist() == [1.0] * 3


def test_nothing_is_normalised_twice():
    fitted = normalise.fit([np.eye(3, dtype=np.float32)], ["a"])
    once = fitted.apply(Sample(0, 0, np.eye(3, dtype=np.float32)))
    with pytest.raises(normalise.NormalisedTwice):
        fitted.apply(once)
