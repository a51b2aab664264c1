"""Trainings of sign language: resumed bit for bit, taught, selected by WER, used from the checkpoint."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import sign_runs as runs
import torch
import trainer_runs

from trainers import __main__ as command
from trainers import registry
from trainers.data import packed
from trainers.data.sign import pack
from trainers.engine import checkpoint
from trainers.engine.events import Silent
from trainers.engine.health import DataUnusable
from trainers.tasks import ctc
from trainers.tasks.sign import ctc_checks
from trainers.tasks.sign.word_errors import WordErrors

FULL = os.environ.get("GPUJOB_TEST_FULL")


@pytest.fixture(scope="module")
def teacher(signs, signs_cache, tmp_path_factory) -> Path:
    """The best checkpoint of a short run of the teacher, beside its `last`."""
    root = tmp_path_factory.mktemp("teacher")
    runs.trained(runs.opened("i3d-teacher", signs, signs_cache), root)
    return root


@pytest.fixture
def taught(signs, teacher, tmp_path) -> Path:
    """A data folder with a teacher."""
    folder = runs.linked(signs, tmp_path / "data")
    shutil.copytree(teacher, folder / "teacher")
    return folder


@pytest.mark.parametrize("name", [*runs.TRAINERS, *(["distilled"] if FULL else [])])
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(name, signs, taught, signs_cache, tmp_path):
    data = taught if name == "distilled" else signs
    make = lambda: runs.opened(name.replace("distilled", "mobilenet-v3"), data, signs_cache, epochs=2)  # noqa: E731
    straight = runs.trained(make(), tmp_path / "straight")
    runs.trained(make(), tmp_path / "broken", 4)
    resumed = runs.trained(make(), tmp_path / "broken")
    assert resumed.lineage.parent is not None
    wanted, got = straight.learner.model.state_dict(), resumed.learner.model.state_dict()
    assert all(torch.equal(wanted[key], got[key]) for key in wanted)
    assert straight.state == resumed.state


@pytest.mark.parametrize("name", runs.TRAINERS)
def test_a_model_that_diverges_ends_with_66_and_the_names_of_its_batch(name, signs, tmp_path):
    run, options = tmp_path / "runs" / name, {**runs.TINY, "learning_rate": 1e25, "checkpoint_every": 1}
    assert trainer_runs.train_here(name, run, {"phoenix": signs / "phoenix"}, options) == 66
    (seen,) = [e for e in trainer_runs.events(run, "health") if e["severity"] == "error"]
    assert (seen["rule"], seen["message"].count("_heute_")) == ("finite", 8)
    (end,) = trainer_runs.events(run, "end")
    assert "the last good checkpoint is step 1" in end["message"]
    assert (run / "checkpoints" / "last").read_text() == "1\n"


def test_the_best_checkpoint_has_the_smallest_wer(signs, signs_cache, tmp_path):
    trainer = runs.trained(runs.opened("i3d-teacher", signs, signs_cache, epochs=1), tmp_path)
    for epoch, value in enumerate((0.9, 0.4, 0.7), 2):
        trainer.state.step += 1
        trainer._judge(epoch, value)
    assert trainer.state.best == -0.4
    assert trainer.state.bad_epochs == 1


def test_a_model_that_predicts_only_blanks_is_reported_and_then_stopped():
    silent, speaking = (WordErrors({"emitting": share, "wer": 1.0}) for share in (0.0, 0.1))
    assert silent.plateau(-1.0, 9, 4, 9000) == []
    assert [f.severity for f in silent.plateau(-1.0, 10, 5, 9000)] == ["warning"]
    assert [f.severity for f in silent.plateau(-1.0, 20, 15, 9000)] == ["error"]
    assert silent.plateau(-1.0, 20, 15, 90) == []
    assert speaking.plateau(-1.0, 20, 15, 9000) == []


@torch.no_grad()
@pytest.mark.parametrize("name", runs.TRAINERS)
def test_a_flat_start_is_of_the_first_epochs_of_training_alone(name, signs, signs_cache):
    task = runs.opened(name, signs, signs_cache, flat_start=2)
    training = [task.collate([task.sample("train", epoch, i) for i in range(3)]) for epoch in (0, 1, 2)]
    assert [batch.flat for batch in training] == [True, True, False]
    assert not any(sample.flat for sample in (task.sample("val", 0, 0), task.unaugmented("train", 0)))
    model, lengths = task.build().eval(), task.out_lengths(training[0].lengths)
    said = task.loss(model, training[0])
    log_probs = said.logits.log_softmax(-1)
    assert float(said.loss) == pytest.approx(
        float(ctc.flat_losses(log_probs, lengths, training[0].targets).sum())
    )
    assert float(task.loss(model, training[0]._replace(flat=False)).loss) == pytest.approx(
        float(ctc.losses(log_probs, lengths, training[0].targets).sum())
    )


@pytest.mark.parametrize("name", [*runs.TRAINERS, "distilled"])
def test_the_first_loss_is_checked_as_ctc_whatever_a_run_starts_from(name, signs, taught, signs_cache):
    data, name = (taught, "mobilenet-v3") if name == "distilled" else (signs, name)
    task = runs.opened(name, data, signs_cache, flat_start=2)
    assert ctc_checks.first_loss(task) == []


@pytest.mark.parametrize(("warmup", "flat", "settled"), [(1.5, 0, 2), (1.5, 6, 6), (5.0, 2, 5)])
def test_a_run_is_judged_after_warm_up_and_flat_start(warmup, flat, settled, signs, signs_cache):
    task = runs.opened("i3d-teacher", signs, signs_cache, warmup_epochs=warmup, flat_start=flat)
    assert task.config.settling == settled


@torch.no_grad()
def test_distillation_learns_from_the_teachers_frames(signs, taught, signs_cache):
    alone, both = (runs.opened("mobilenet-v3", data, signs_cache) for data in (signs, taught))
    assert both.fingerprint.startswith(alone.fingerprint)
    assert both.fingerprint != alone.fingerprint
    model, batch = both.build().eval(), both.collate([both.sample("train", 0, i) for i in range(3)])
    half, only = (both.replace(distill=share).loss(model, batch).loss for share in (0.5, 0.0))
    assert batch.teacher.shape == (*batch.raw.shape[:2], len(both.vocabulary))
    untaught = alone.loss(model, batch._replace(teacher=None)).loss
    assert float(only) == pytest.approx(float(untaught))
    assert float(half) != pytest.approx(float(only))
    copies = both.replace(distill=1.0, temperature=1.0)
    said = model(both.frames(batch), batch.keys).float()
    same = batch._replace(teacher=said.detach())
    assert float(copies.loss(model, same).loss) == pytest.approx(0.0, abs=1e-3)


def test_checks_of_a_distilled_student_go_past_its_flat_start(taught, signs_cache, tmp_path):
    task = runs.opened("mobilenet-v3", taught, signs_cache, flat_start=50)
    checks = {check.code: check for check in registry.checks("mobilenet-v3")}
    assert not {"distill", "temperature"} & task.config.read()
    assert checks["grad.flow"].ask(task) == []
    assert {"distill", "temperature"} <= task.config.read()


def test_the_option_teacher_is_read_beside_a_data_folder_of_that_name(taught, signs_cache):
    assert "teacher" in runs.opened("mobilenet-v3", taught, signs_cache).config.read()


def test_a_teachers_logits_are_computed_once(taught, signs_cache, monkeypatch):
    first = runs.opened("mobilenet-v3", taught, signs_cache)
    monkeypatch.setattr("trainers.mobilenet_v3.teacher._compute", lambda *_: pytest.fail("computed twice"))
    again = runs.opened("mobilenet-v3", taught, signs_cache)
    id = first.splits["train"][0].id
    assert np.array_equal(first.teacher.logits(id), again.teacher.logits(id))


def test_two_runs_may_start_from_the_same_teacher_at_once(taught, tmp_path, monkeypatch):
    runs.opened("i3d-teacher", taught, tmp_path / "work")
    make = lambda: runs.opened("mobilenet-v3", taught, tmp_path / "work")  # noqa: E731
    publish, other = packed._publish, []

    def late(temporary: Path, folder: Path) -> None:
        if not other:
            other.append(None)
            other[0] = make()
        publish(temporary, folder)

    monkeypatch.setattr(packed, "_publish", late)
    first = make()
    id = first.splits["train"][0].id
    assert np.array_equal(first.teacher.logits(id), other[0].teacher.logits(id))
    assert [path for path in (tmp_path / "work").iterdir() if path.suffix == ".tmp"] == []


def test_a_teacher_of_other_glosses_is_refused_by_name(taught, tmp_path):
    corpus = taught / "phoenix" / "annotations" / "train.SI5.corpus.csv"
    text = corpus.read_text().replace("WOLKE", "NEBEL")
    corpus.unlink()
    corpus.write_text(text)
    with pytest.raises(DataUnusable, match="its vocabulary is another: 2 words differ: NEBEL, WOLKE"):
        runs.opened("mobilenet-v3", taught, tmp_path)
    report = runs.check("mobilenet-v3", taught, tmp_path)
    assert runs.of(report, "teacher")["key"] == "teacher"


def test_prepare_replaces_its_own_packed_folder_and_no_other(signs, tmp_path):
    data = runs.linked(signs, tmp_path / "data")
    with pytest.raises(DataUnusable, match="is not a folder that `prepare` packed"):
        pack.run({"phoenix": data / "phoenix"}, data, 0, Silent())
    assert features_below(data) == features_below(signs)
    for _ in range(2):
        pack.run({"phoenix": data / "phoenix"}, tmp_path / "to", 0, Silent())
    assert runs.opened("i3d-teacher", tmp_path / "to", tmp_path / "w").data.records


def test_prepare_keeps_its_earlier_folder_until_the_new_one_is_complete(signs, tmp_path):
    """Now the same corpus has no features that can be read."""
    pack.run({"phoenix": signs / "phoenix"}, tmp_path / "to", 0, Silent())
    before = standing(tmp_path / "to" / "phoenix")
    corpus = runs.linked(signs, tmp_path / "corpus")
    for path in (corpus / "phoenix").rglob("*.np?"):
        path.unlink()
        path.write_bytes(b"no numbers")
    with pytest.raises(DataUnusable):
        pack.run({"phoenix": corpus / "phoenix"}, tmp_path / "to", 0, Silent())
    assert standing(tmp_path / "to" / "phoenix") == before
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["phoenix"]


def features_below(folder: Path) -> int:
    return len(list(folder.rglob("*.np?")))


def test_an_incomplete_packed_folder_is_refused_with_a_command(signs, tmp_path):
    pack.run({"phoenix": signs / "phoenix"}, tmp_path, 0, Silent())
    records = tmp_path / "phoenix" / packed.RECORDS
    records.write_bytes(records.read_bytes()[:-2])
    with pytest.raises(DataUnusable, match="is not as long as the index says: copy it anew"):
        runs.opened("i3d-teacher", tmp_path, tmp_path / "w")


def test_packed_data_has_an_eighth_of_the_size_and_equal_content(signs, signs_cache, tmp_path):
    made = pack.run({"phoenix": signs / "phoenix"}, tmp_path, 0, Silent())
    raw, packed = (runs.opened("i3d-teacher", data, signs_cache) for data in (signs, tmp_path))
    assert packed.fingerprint == raw.fingerprint
    rows = raw.data.cache.rows.values()
    assert made["bytes_written"] * 8 == sum(row.steps for row in rows) * 6516 * 4
    assert not (tmp_path / "phoenix" / "features").exists()
    with pytest.raises(DataUnusable, match="is packed already"):
        pack.run({"phoenix": tmp_path / "phoenix"}, tmp_path / "x", 0, Silent())


def test_packed_data_follows_the_options_and_is_read_completely(signs, tmp_path):
    pack.run({"phoenix": signs / "phoenix"}, tmp_path, 0, Silent())
    task = runs.opened("i3d-teacher", tmp_path, tmp_path / "w", min_frames=40)
    assert min(task.data.cache.rows[r.id].steps for r in task.data.records) >= 40
    assert "has fewer than 40 frames" in {refusal.reason for refusal in task.data.listing.refused}
    assert "min_frames" in task.config.read()


def standing(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_packed_data_is_only_read_and_its_statistics_are_cached(signs, tmp_path, monkeypatch):
    data, work = tmp_path / "data", tmp_path / "work"
    pack.run({"phoenix": signs / "phoenix"}, data, 0, Silent())
    before = standing(data)
    first = runs.opened("i3d-teacher", data, work, normalise="global")
    assert standing(data) == before
    monkeypatch.setattr("trainers.data.sign.data.normalise.fit", None)
    again = runs.opened("i3d-teacher", data, work, normalise="global")
    assert np.array_equal(first.normaliser.statistics.mean, again.normaliser.statistics.mean)


def test_damaged_packed_data_is_reported_without_advice_to_delete_it(signs, tmp_path):
    pack.run({"phoenix": signs / "phoenix"}, tmp_path / "data", 0, Silent())
    features = tmp_path / "data" / "phoenix" / packed.RECORDS
    features.write_bytes(b"\1" * 4 + features.read_bytes()[4:])
    found = runs.of(runs.check("i3d-teacher", tmp_path / "data", tmp_path / "work"), "cache")
    assert "1 sentences of" in found["message"]
    assert "remove" not in found["fix"]


def test_features_of_a_folder_that_is_no_utf8_are_read(signs, tmp_path):
    data = runs.linked(signs, tmp_path / os.fsdecode(b"donn\xe9es"))
    assert runs.opened("i3d-teacher", data, tmp_path / "work").data.records


def test_files_that_are_not_packed_train_the_same(signs, signs_cache, tmp_path):
    packed, files = (runs.opened("i3d-teacher", signs, signs_cache, pack=pack) for pack in (True, False))
    assert files.fingerprint == packed.fingerprint
    a, b = packed.sample("train", 1, 3), files.sample("train", 1, 3)
    assert np.array_equal(a.course.raw, b.course.raw)


def test_predict_prints_glosses_and_evaluate_repeats_the_metrics(teacher, signs, capsys):
    good = sorted((signs / "phoenix" / "features" / "test").glob("*.np?"))
    bad = signs / "phoenix" / "features" / "train" / "broken_nan.npz"
    assert command.main(["predict", str(teacher / "best"), str(good[0]), str(bad)]) == 1
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert isinstance(first["glosses"], list)
    assert "NaN" in second["error"]
    words = ["evaluate", str(teacher / "best"), "--data", f"phoenix={signs / 'phoenix'}", "--split", "val"]
    assert command.main(words) == 0
    answer = json.loads(capsys.readouterr().out)
    held = checkpoint.read(teacher / (teacher / "best").read_text().strip())
    assert answer["same_data"] is True
    assert answer["values"]["wer"] == pytest.approx(held.manifest["metrics"]["wer"])
    assert sum(one["edits"] for one in answer["wrong"]) / answer["values"]["words"] == answer["values"]["wer"]
    assert {"samples", "resampled", "per_class", "confused"} <= answer.keys()


def test_a_checkpoint_decodes_with_the_n_grams_it_was_trained_with(signs, signs_cache, tmp_path):
    options = {"decode": "beam", "lm_weight": 0.4, "lm_order": 3, "beams": 4, "epochs": 1}
    task = runs.opened("i3d-teacher", signs, signs_cache, **options)
    runs.trained(task, tmp_path)
    held = checkpoint.read(tmp_path / (tmp_path / "last").read_text().strip())
    restored = registry.trainer("i3d-teacher").restore(held)
    sample = task.unaugmented("val", 0)
    logits = restored.logits(sample.course.raw)
    assert restored.glosses(logits) == task.decoder.words(logits.log_softmax(-1).numpy())
    assert restored.decoder.model.counts == task.decoder.model.counts
