"""Both models: padding, length, locality, size; a student that pools over time is detected."""

from types import SimpleNamespace

import numpy as np
import pytest
import sign_runs as runs
import torch

from trainers import registry
from trainers.data.landmarks import Layout
from trainers.data.sign import parts, reading
from trainers.data.sign.batch import Sample, collate
from trainers.i3d_teacher.model import PARAMETERS as TEACHERS
from trainers.i3d_teacher.model import I3DTeacher
from trainers.mobilenet_v3 import model as students
from trainers.mobilenet_v3.model import Student
from trainers.mobilenet_v3.trainer import StudentTrainer
from trainers.tasks.sign import ctc_checks, network_checks

LAYOUT = Layout.named("pose-face-hands")


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_the_teacher_has_7_287_581_parameters_with_1117_words():
    assert count(I3DTeacher("teacher-7.29m", 1117, LAYOUT, 0.2)) == 7_287_581
    assert count(I3DTeacher("teacher-7.29m", 1232, LAYOUT, 0.2)) == 7_287_581 + 115 * 513


def test_only_the_drawn_student_has_most_parameters_in_one_encoder():
    drawn, bounded = (Student(preset, 1232, LAYOUT, 0.3) for preset in ("drawn", "bounded"))
    assert (count(drawn), count(bounded)) == (14_471_131, 2_472_475)
    assert count(drawn.encoders["temporal"]) / count(drawn) == pytest.approx(0.869, abs=0.001)


@pytest.mark.parametrize("preset", [*TEACHERS, *students.PARAMETERS])
def test_every_preset_has_the_parameters_of_its_table(preset):
    for table, kind in ((TEACHERS, I3DTeacher), (students.PARAMETERS, Student)):
        if preset in table:
            fixed, each = table[preset]
            assert count(kind(preset, 20, LAYOUT, 0.3)) == fixed + 20 * each


@pytest.fixture(params=runs.TRAINERS)
def task(request, signs, signs_cache):
    return runs.opened(request.param, signs, signs_cache)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_output_for_a_sentence_does_not_depend_on_the_batch(task, mode):
    model = task.build()
    model.train(mode == "train")
    some = sorted((task.unaugmented("train", i) for i in range(20)), key=lambda s: len(s.course.raw))
    short, long = some[0], some[-1]
    assert len(long.course.raw) > len(short.course.raw) + 8
    with torch.no_grad():
        alone, beside = (task.loss(model, collate(s)).logits[0] for s in ([short], [short, long]))
    assert float((alone - beside[: len(alone)]).abs().max()) < 1e-5


def test_the_output_is_exactly_as_long_as_declared_for_every_length(task, trials):
    assert network_checks.exact_length(task, trials(31, 301), (300,)) == []


def test_both_models_are_local_and_move_with_their_input(task):
    assert network_checks.far_to_near(task, task.build()) < 0.3
    assert network_checks.locality(task) + network_checks.shift(task) == []


class Collapsed(Student):
    """A student with global average pooling over time, expanded to all frames."""

    def backbone(self, frames, keys):
        right = super().backbone(frames, keys)
        count = frames.lengths.to(right.device)[:, None, None]
        return ((right * frames.valid).sum(1, keepdim=True) / count).expand_as(right)


class CollapsedTask(StudentTrainer):
    def model(self):
        return Collapsed(self.config.preset, len(self.vocabulary), self.layout, self.config.dropout)


def test_a_collapsed_student_fails_locality_although_it_overfits_a_batch(signs, signs_cache, monkeypatch):
    monkeypatch.setattr(ctc_checks, "OVERFIT_SAMPLES", 1)
    right = runs.opened("mobilenet-v3", signs, signs_cache)
    collapsed = CollapsedTask(right.config, right.data)
    assert ctc_checks.overfit(collapsed) == []
    (finding,) = network_checks.locality(collapsed)
    assert finding.code == "collapse.locality"
    assert network_checks.far_to_near(collapsed, collapsed.build()) > 0.8
    assert network_checks.locality(right) == []


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_the_device_derives_what_the_extractor_wrote(steps):
    raw = np.random.default_rng(steps).random((steps, 1629)).astype(np.float32)
    derived = reading.derive(raw)
    padded = torch.zeros(2, 12, 1629)
    padded[0, :steps] = torch.from_numpy(raw)
    got = parts.derive(padded, torch.tensor([steps, 12])).values[0]
    assert torch.allclose(got[:steps], torch.from_numpy(derived), atol=1e-6)
    assert not got[steps:].any()


def test_the_groups_are_read_from_the_layout_and_not_from_fixed_indices():
    raw = torch.arange(1629.0)[None, None].repeat(1, 2, 1)
    values = torch.cat([raw, raw, raw], 2)
    for name, face, hands in (("pose-face-hands", 99, 1503), ("pose-hands-face", 225, 99)):
        groups = parts.modalities(values, Layout.named(name))
        assert (float(groups["face"][0, 0, 0]), float(groups["hands"][0, 0, 0])) == (face, hands)
        assert {part: value.shape[-1] for part, value in groups.items()} == parts.WIDTHS


def test_frames_that_were_not_normalised_are_refused_by_the_models(task):
    batch = collate([task.unaugmented("train", 0)])
    frames = parts.derive(batch.raw, batch.lengths)
    with pytest.raises(ValueError, match="without normalisation"):
        task.build()(frames, batch.keys)


def test_augmentation_depends_on_the_epoch_and_leaves_enough_frames(task):
    for index in range(task.size("train")):
        first, again, later = (task.sample("train", epoch, index) for epoch in (1, 1, 2))
        assert np.array_equal(first.course.raw, again.course.raw)
        assert first.target == later.target
        out = int(task.out_lengths(torch.tensor(len(first.course.raw))))
        assert out >= len(first.target)
    assert not np.array_equal(first.course.raw, later.course.raw)
    zeros = task.unaugmented("train", index).course.raw == 0
    assert (first.course.raw == 0).mean() == pytest.approx(zeros.mean(), abs=0.05)


def test_a_teachers_frames_follow_a_sentence_that_was_sped_up():
    logits = np.arange(5, dtype=np.float16)[:, None].repeat(3, 1)
    source = np.linspace(0, 19, 10, dtype=np.float32)
    course = SimpleNamespace(raw=np.zeros((10, 4), np.float32), source=source, hidden=np.zeros(10, bool))
    batch = collate([Sample(0, course, teacher=logits)])
    assert batch.teacher[0, :, 0].tolist() == [int(place // 4) for place in source]


def test_every_trainer_of_sign_language_shares_its_options():
    configs = [registry.describe(name).config().as_dict() for name in runs.TRAINERS]
    assert {"decode", "layout", "normalise", "oov", "protocol"} <= configs[0].keys() & configs[1].keys()
