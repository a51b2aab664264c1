"""Trainings of a small SlowFast: learning, the effect of a leak, and the use of its checkpoint."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from slowfast_kit import folders, opened, tiny, write_manifest
from torch import nn

from trainers import __main__ as command
from trainers.data import emotions
from trainers.data.recording_checks import Survey
from trainers.data.recordings import Record, stem
from trainers.engine import checkpoint, optim, resume
from trainers.engine.check import findings_of
from trainers.engine.distributed import Group
from trainers.engine.events import Silent
from trainers.engine.loop import TrainingLoop
from trainers.slowfast import file_checks, sample
from trainers.slowfast.answers import probabilities
from trainers.slowfast.data import Data
from trainers.slowfast.frame_cache import Row
from trainers.slowfast.trainer import SlowFastTrainer

CPU = Group(torch.device("cpu"))


@pytest.fixture(scope="module")
def trained(videos: Path, frames_cache: Path, tmp_path_factory) -> tuple[Path, SlowFastTrainer, str]:
    """The checkpoints of a short training, its trainer, and its final message."""
    trainer = opened(videos, frames_cache, epochs=1)
    root = tmp_path_factory.mktemp("run") / "checkpoints"
    outcome = TrainingLoop(trainer, root, Silent(), CPU, talk=False).run()
    return root, trainer, outcome.message


def restored(root: Path) -> SlowFastTrainer:
    return SlowFastTrainer.restore(checkpoint.read(root / (root / "best").read_text().strip()))


def call(capsys, *words: object) -> tuple[int, list[dict]]:
    code = command.main([str(word) for word in words])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_evaluate_repeats_the_metrics_of_the_training(trained, videos, capsys):
    root, _, message = trained
    pairs = [f"--data={name}={path}" for name, path in folders(videos).items()]
    code, (answer,) = call(capsys, "evaluate", root / "best", *pairs)
    assert code == 0
    assert answer["same_data"]
    assert f"test accuracy {answer['values']['accuracy']:.3f}" in message
    assert f"{answer['values']['accuracy_low']:.3f} to" in message
    assert set(answer["per_class"]) == set(emotions.CLASSES)


def other_splits(trainer: SlowFastTrainer, path: Path) -> Path:
    """Write a manifest whose test split has one training and one test actor; the rest is train."""
    trained_on = trainer.splits["train"][0].actor
    tested = {trained_on, trainer.splits["test"][0].actor}
    rows = [
        {"path": str(r.path), "split": "test" if r.actor in tested else "train"} for r in trainer.data.records
    ]
    # A trainer needs at least one video in val.
    rows[next(n for n, row in enumerate(rows) if row["split"] == "train")]["split"] = "val"
    return write_manifest(path / "manifest.csv", rows)


def test_evaluate_with_other_splits_excludes_actors_of_the_training(trained, videos, tmp_path, capsys):
    root, trainer, _ = trained
    data = {**folders(videos), "splits": other_splits(trainer, tmp_path)}
    pairs = [f"--data={name}={path}" for name, path in data.items()]
    actor = trainer.splits["train"][0].actor
    theirs = sum(r.actor == actor for r in trainer.data.records)
    assert command.main(["evaluate", str(root / "best"), *pairs]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["same_data"] is False
    assert (answer["groups"], answer["left_out"]) == (1, theirs)
    assert f"{theirs} of {theirs + answer['samples']} samples are of {actor}" in answer["warning"]
    assert answer["warning"] in err


def test_a_run_is_not_resumed_with_other_splits_of_the_same_videos(trained, videos, frames_cache, tmp_path):
    root, trainer, _ = trained
    data = {**folders(videos), "splits": other_splits(trainer, tmp_path)}
    other = SlowFastTrainer.open(trainer.config, data, frames_cache, Silent())
    manifest = checkpoint.read(root / (root / "last").read_text().strip()).manifest
    resume.compare(manifest, trainer, None, lambda _: None)
    with pytest.raises(resume.Refused, match="the data changed"):
        resume.compare(manifest, other, None, lambda _: None)
    assert other.data.listing.facts["manifest"] != trainer.data.listing.facts["manifest"]


def test_predict_repeats_the_probabilities_and_names_an_unreadable_video(trained, videos, capsys):
    root, trainer, _ = trained
    paths = [trainer.splits["val"][place].path for place in (0, 5)]
    broken = videos / "crema" / "1010_IEO_ANG_LO.flv"
    code, answers = call(capsys, "predict", root / "best", *paths, broken)
    assert code == 1
    assert "is empty" in answers[2]["error"]
    model = restored(root).network
    batch = trainer.collate([trainer.sample("val", 0, place) for place in (0, 5)])
    with torch.no_grad():
        indices = trainer.loss(model, batch).logits.exp()
    got = torch.tensor([list(answer["probabilities"].values()) for answer in answers[:2]])
    assert torch.allclose(got, indices, atol=1e-5)
    assert answers[0]["truth"] == trainer.splits["val"][0].label


def test_the_exported_program_takes_raw_frames_and_preprocesses_them(trained, tmp_path, capsys):
    root, held, _ = trained
    code, (answer,) = call(capsys, "export", root / "best", "--to", tmp_path / "out")
    assert code == 0
    about = json.loads(Path(answer["preprocessing"]).read_text())
    assert about["inputs"] == [
        {"name": "frames", "dtype": "uint8", "shape": ["clips", 8, 36, 36, 3]},
    ]
    program = torch.export.load(answer["program"]).module()
    frames = torch.from_numpy(held.sample("val", 0, 3).frames)
    trainer = restored(root)
    with torch.no_grad():
        shares = (program(frames).softmax(1) + program(frames.flip(3)).softmax(1)).mean(0) / 2
    kept = probabilities(trainer.network, frames, trainer.config).mean(0)
    assert torch.allclose(shares, kept.detach(), atol=1e-5)


def test_more_test_clips_and_the_mirror_image_change_the_answer(trained):
    root, trainer, _ = trained
    model = restored(root).network
    answers = []
    for clips, flip in ((1, False), (3, False), (5, False), (1, True)):
        some = trainer.replace(test_clips=clips, test_flip=flip)
        with torch.no_grad():
            answers.append(some.loss(model, some.collate([some.sample("test", 0, 0)])).logits)
    assert all(not torch.allclose(answers[0], other, atol=1e-6) for other in answers[1:])
    assert not torch.allclose(answers[1], answers[2], atol=1e-6)


def test_parts_of_a_batch_and_of_an_evaluation_give_the_same_sums(videos, frames_cache):
    trainer = opened(videos, frames_cache)
    model = trainer.build().eval()
    samples = [trainer.sample("val", 0, place) for place in range(4)]
    with torch.no_grad():
        complete = trainer.loss(model, trainer.collate(samples))
        parts = [trainer.loss(model, trainer.collate(samples[i : i + 1])) for i in range(4)]
    assert torch.allclose(complete.loss, sum(part.loss for part in parts), atol=1e-4)
    assert torch.equal(complete.counts, sum(part.counts for part in parts))


def test_early_stages_have_lower_learning_rates_and_frozen_ones_none(videos, frames_cache):
    trainer = opened(videos, frames_cache, layer_decay=0.5, freeze=1)
    model = trainer.build()
    owner = optim.optimizer(model, trainer.config, trainer.rate_factors(model))
    rates = {
        name: group["lr"] / trainer.config.learning_rate
        for group in owner.param_groups
        for name, p in model.named_parameters()
        if any(p is q for q in group["params"])
    }
    assert rates["answer.weight"] == owner.param_groups[0]["lr"] / trainer.config.learning_rate == 1.0
    assert rates["pathways.0.2.0.a.weight"] == rates["pathways.1.2.0.a.weight"] == 0.5
    assert rates["pathways.0.1.0.a.weight"] == rates["fusions.1.weight"] == 0.25
    assert "pathways.0.0.conv.weight" not in rates
    peaks = [group["lr"] for group in owner.param_groups]
    optim.Schedule(owner, trainer.config, 10).set(12)
    now = {group["lr"] / peak for group, peak in zip(owner.param_groups, peaks, strict=True)}
    assert max(now) - min(now) < 1e-12


def test_the_one_cycle_schedule_equals_that_of_torch():
    config = tiny(schedule="one-cycle", epochs=5, warmup_epochs=1.5, learning_rate=0.01)
    owner = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        owner, 0.01, total_steps=50, pct_start=15 / 50, cycle_momentum=False
    )
    for step in range(50):
        assert 0.01 * optim.rate_share(step, config, 10) == pytest.approx(
            owner.param_groups[0]["lr"], rel=1e-6
        )
        owner.step()
        if step < 49:
            cycle.step()


def test_processes_agree_on_running_statistics():
    class Two(Group):
        """A process group of two, whose other process contributes statistics of 3."""

        def sum(self, values):
            return values + 3.0

    model = nn.BatchNorm2d(4)
    Two(torch.device("cpu"), 0, 2).mean_buffers(model)
    assert torch.equal(model.running_mean, torch.full((4,), 1.5))
    assert torch.equal(model.running_var, torch.full((4,), 2.0))


# The effect of a leak

PLAIN = dict.fromkeys(("flip", "rotate", "zoom", "shift", "colour", "cutout", "reverse", "drop_frames"), 0.0)
ACTORS, TAKES = 4, 10


class Frames:
    """A cache of the sample's frames at half the size."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.held: dict[str, np.ndarray] = {}

    def add(self, id: str, frames: np.ndarray) -> None:
        self.held[id], self.rows[id] = frames, Row(id, 0, len(frames), id, [1] * len(frames), 24.0)

    def frames(self, id: str, indices: np.ndarray) -> np.ndarray:
        return self.held[id][indices]


def recorded() -> tuple[list[Record], Frames]:
    cache, records = Frames(), []
    for number in range(ACTORS * 6 * TAKES):
        actor, feeling, take = number % ACTORS, number // ACTORS % 6, number // ACTORS // 6
        code = list(emotions.CREMA_EMOTIONS)[feeling]
        name = emotions.Crema(str(1001 + actor), emotions.CREMA_SENTENCES[take], code, "XX")
        records.append(Record(f"crema/{name}", Path(f"{name}.flv"), name, emotions.CREMA_EMOTIONS[code]))
        cache.add(records[-1].id, sample.frames(0, feeling, actor, number)[:, ::2, 8:56:2])
    return records, cache


def scored(records: list[Record], cache: Frames, home: dict[str, str], root: Path) -> float:
    """Return the test accuracy of a training on these splits."""
    config = tiny(
        **{**PLAIN, "stride": 2, "size": 24, "cache_size": 24, "width": 8, "dropout": 0.0, "squeeze": False},
        batch_size=16,
        clips_per_video=1,
        test_clips=1,
        test_flip=False,
        epochs=6,
        warmup_epochs=1.0,
        learning_rate=0.01,
        patience=0,
        label_smoothing=0.0,
    )
    survey = Survey(len(records), tuple(records), (), home, lambda _: home, "videos", stem, 1.0)
    trainer = SlowFastTrainer(config, Data(survey, cache))
    message = TrainingLoop(trainer, root, Silent(), CPU, talk=False).run().message
    return float(message.split()[2])


def leaky(ids: list[str]) -> dict[str, str]:
    """Split the files at random, regardless of their actors."""
    shuffled = random.Random(0).sample(ids, len(ids))
    quarter = len(ids) // 4
    return {
        id: ("test", "val", "train", "train")[min(3, place // quarter)] for place, id in enumerate(shuffled)
    }


def test_a_leaky_split_scores_above_the_actor_independent_one(tmp_path, trials):
    if not trials(0, 1):
        pytest.skip("in `make test-full`: two trainings")
    records, cache = recorded()
    strangers = {"crema-1001": "test", "crema-1002": "val"}
    by_actor = {record.id: strangers.get(record.actor, "train") for record in records}
    honest = scored(records, cache, by_actor, tmp_path / "a")
    flattered = scored(records, cache, leaky([record.id for record in records]), tmp_path / "b")
    assert flattered > honest + 0.15


def test_check_names_the_actors_of_a_leaky_manifest(videos, tmp_path):
    plain = file_checks.scan(folders(videos), tiny())
    home = leaky([record.id for record in plain.records])
    rows = [{"path": str(r.path), "split": home[r.id]} for r in plain.records]
    data = {**folders(videos), "splits": write_manifest(tmp_path / "s" / "manifest.csv", rows)}
    survey = file_checks.scan(data, tiny())
    findings = findings_of(file_checks.CHECKS, survey)
    (leak,) = [f for f in findings if f.code == "split.groups"]
    assert survey.records
    assert leak.severity == "error"
    assert leak.message.startswith("20 actors are in more than one split: crema-1001, crema-1002")
