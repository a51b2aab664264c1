"""Trainings that are killed, stopped, resumed and spread over processes."""

import os
import random
import shutil
import signal
import socket
from pathlib import Path

import pytest
import trainer_runs as runs

from tests.rigs.patience import PATIENCE
from trainers.engine import checkpoint

TRIALS = 20 if os.environ.get("GPUJOB_TEST_FULL") else 1


@pytest.fixture(scope="module")
def straight(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    run = tmp_path_factory.mktemp("root") / "runs" / "straight"
    assert runs.train(run, sample, runs.recipe()) == 0
    return run


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_run_killed_at_any_step_ends_as_one_never_killed(trial, straight, sample, tmp_path):
    run = tmp_path / "runs" / "killed"
    steps = runs.events(straight, "start")[0]["steps"]
    for attempt, last in enumerate(sorted(random.Random(trial).sample(range(1, steps - 1), 2))):
        config = runs.recipe(num_workers=(trial + attempt) % 3)
        assert runs.send_at(runs.start(run, sample, config), run, last, signal.SIGKILL) == -9
        shutil.copyfile(run / "events.jsonl", run / f"events-{attempt}.jsonl")
        (run / "events.jsonl").unlink()
    assert runs.train(run, sample, runs.recipe(num_workers=(trial + 2) % 3)) == 0
    (start,) = runs.events(run, "start")
    assert start["resumed_from"] is None or start["resumed_from"] > 0
    for name in ("last", "best"):
        assert runs.weights(run, name) == runs.weights(straight, name)
    assert metrics(run)[-1] == metrics(straight)[-1]


def metrics(run: Path) -> list[dict[str, object]]:
    return [{**entry, "t": 0} for entry in runs.events(run, "metrics")]


def test_progress_of_a_training_has_loss_rate_and_gradient_norm(straight):
    steps = [e for e in runs.events(straight, "progress") if e["phase"] == "train"]
    assert steps
    for step in steps:
        assert all(0 < step[name] < 1e3 for name in ("loss", "lr", "grad_norm")), step


def test_metrics_of_an_epoch_resumed_midway_equal_an_uninterrupted_one(straight, sample, tmp_path):
    run = tmp_path / "runs" / "killed"
    assert runs.send_at(runs.start(run, sample, runs.recipe()), run, 20, signal.SIGKILL) == -9
    before = len(runs.events(run, "metrics"))
    assert runs.train(run, sample, runs.recipe()) == 0
    resumed = runs.events(run, "start")[1]["resumed_from"]
    assert resumed % 13 != 0, "the kill was meant for the middle of an epoch"
    assert metrics(run)[before:] == metrics(straight)[before:]


def test_sigterm_saves_a_checkpoint_and_ends_with_75(straight, sample, tmp_path):
    run = tmp_path / "runs" / "stopped"
    config = runs.recipe(checkpoint_every=0, num_workers=2)
    assert runs.send_at(runs.start(run, sample, config), run, 5, signal.SIGTERM) == 75
    (end,) = runs.events(run, "end")
    assert end["status"] == "stopped"
    assert (run / "checkpoints" / "last").read_text() == f"{end['step']}\n"
    assert runs.train(run, sample, config) == 0
    assert runs.events(run, "start")[1]["resumed_from"] == end["step"]
    assert runs.weights(run) == runs.weights(straight)


def test_a_damaged_checkpoint_is_skipped_for_the_newest_complete_one(straight, sample, tmp_path):
    run = tmp_path / "runs" / "damaged"
    assert runs.send_at(runs.start(run, sample, runs.recipe()), run, 20, signal.SIGKILL) == -9
    root = run / "checkpoints"
    (root / ".99.1.tmp").mkdir()
    steps = sorted(int(path.name) for path in root.iterdir() if path.name.isdigit())
    broken = root / str(steps[-1]) / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    assert runs.train(run, sample, runs.recipe()) == 0
    assert runs.events(run, "start")[1]["resumed_from"] == steps[-2]
    assert f"checkpoint {steps[-1]} is skipped" in runs.events(run, "warning")[0]["message"]
    assert not list(root.glob(".*.tmp"))
    assert runs.weights(run) == runs.weights(straight)


@pytest.mark.parametrize(
    ("change", "message"), [({"learning_rate": 0.001}, "learning_rate was 0.003"), ({}, "data changed")]
)
def test_a_resumed_run_with_other_options_or_data_is_refused(change, message, straight, sample, tmp_path):
    run = tmp_path / "root" / "runs" / "other"
    shutil.copytree(straight, run)
    data = tmp_path / "data"
    shutil.copytree(sample, data, copy_function=os.link)
    if not change:
        next((data / "crema").glob("1001_*XX*")).unlink()
    assert runs.train(run, data, runs.recipe(**change)) == 64
    assert message in runs.events(run, "end")[-1]["message"]
    assert "Traceback" not in (run / "log").read_text()


def test_resuming_with_other_code_is_reported(straight, sample, tmp_path):
    run = tmp_path / "root" / "runs" / "newer"
    shutil.copytree(straight, run)
    assert runs.train(run, sample, runs.recipe(), GPUJOB_CODE_TREE="abc") == 0
    assert "the code changed" in runs.events(run, "warning")[0]["message"]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_have_the_same_losses_as_one(accumulate, sample, tmp_path):
    # 156 samples: the last batch of an epoch has one sample, so most processes get none of it.
    config = runs.recipe(epochs=2, batch_size=31, checkpoint_every=0, accumulate=accumulate)
    one, two = tmp_path / "runs" / "one", tmp_path / "runs" / "two"
    assert runs.train(one, sample, config) == 0
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group |= {"GLOO_SOCKET_IFNAME": "lo"}
    ranks = [runs.start(two, sample, config, RANK=str(rank), **group) for rank in (0, 1)]
    assert [rank.wait(timeout=PATIENCE) for rank in ranks] == [0, 0], (two / "log").read_text()
    expected, got = ([e["loss"] for e in runs.events(run, "progress") if "loss" in e] for run in (one, two))
    assert len(expected) >= 10
    assert got == pytest.approx(expected, rel=1e-5)
    assert len(runs.events(two, "start")) == 1
    assert runs.events(two, "start")[0]["world_size"] == 2
    for a, b in zip(runs.events(one, "metrics"), runs.events(two, "metrics"), strict=True):
        assert a["confusion"] == b["confusion"]


def test_two_processes_stop_together_when_one_gets_a_signal(sample, tmp_path):
    run = tmp_path / "runs" / "two"
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group |= {"GLOO_SOCKET_IFNAME": "lo"}
    config = runs.recipe(epochs=50)
    first, second = (runs.start(run, sample, config, RANK=str(r), **group) for r in (0, 1))
    assert runs.send_at(second, run, 5, signal.SIGTERM) == 75
    assert first.wait(timeout=PATIENCE) == 75


@pytest.mark.parametrize("size", [1, 2])
def test_an_unexpected_error_ends_every_process_and_data_loader(size, sample, tmp_path):
    """Loaders ignore SIGTERM, and Python waits for them at exit. Rank 0 fails while saving."""
    run = tmp_path / "runs" / "failing"
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group |= {"GLOO_SOCKET_IFNAME": "lo", "GPUJOB_CHECKPOINTS": "/dev/null/none"}
    ranks = [runs.start(run, sample, runs.recipe(num_workers=1), RANK=str(r), **group) for r in range(size)]
    assert [rank.wait(timeout=PATIENCE) for rank in ranks] == [1] * size
    assert runs.events(run, "end")[-1]["step"] == 3
    assert "NotADirectoryError" in (run / "log").read_text()


def start_on_hosts(folders, processes, sample, config):
    """Start the processes of one training, `processes` of them on each host; each host has a run folder."""
    group = {"WORLD_SIZE": str(processes * len(folders)), "MASTER_ADDR": "127.0.0.1"}
    group |= {"MASTER_PORT": str(free_port()), "GLOO_SOCKET_IFNAME": "lo", "GPUJOB_NNODES": str(len(folders))}
    return [
        runs.start(folder, sample, config, RANK=str(processes * host + local), LOCAL_RANK=str(local), **group)
        for host, folder in enumerate(folders)
        for local in range(processes)
    ]


def test_checkpoints_of_1_process_resume_on_4_then_2_on_two_hosts(sample, tmp_path):
    config = runs.recipe(epochs=4, batch_size=31, checkpoint_every=4)
    straight, a, b = (tmp_path / name / "runs" / "run" for name in ("straight", "a", "b"))
    assert runs.train(straight, sample, config) == 0
    assert runs.send_at(runs.start(a, sample, config), a, 5, signal.SIGTERM) == 75
    four = start_on_hosts([a, b], 2, sample, config)
    assert runs.send_at(four[3], a, 12, signal.SIGTERM) == 75
    assert [one.wait(timeout=PATIENCE) for one in four] == [75] * 4
    assert checkpoint.steps(a / "checkpoints")[0] == checkpoint.steps(b / "checkpoints")[0]
    shutil.rmtree(a / "checkpoints")  # another host takes its place
    two = start_on_hosts([b, a], 1, sample, config)
    assert [one.wait(timeout=PATIENCE) for one in two] == [0, 0], (b / "log").read_text()
    assert [e["world_size"] for e in runs.events(b, "start")] == [4, 2]
    for run in (a, b):
        assert checkpoint.steps(run / "checkpoints")[0] == checkpoint.steps(straight / "checkpoints")[0]
        assert checkpoint.pointed(run / "checkpoints", "best") is not None
    expected = {e["step"]: e["loss"] for e in runs.events(straight, "progress") if "loss" in e}
    got = {e["step"]: e["loss"] for e in runs.events(b, "progress") if "loss" in e}
    assert got == pytest.approx({step: expected[step] for step in got}, rel=1e-5)
    final = [runs.events(run, "metrics")[-1]["confusion"] for run in (straight, a, b)]
    assert final[0] == final[1] == final[2]
