"""The number of CPU threads: the fastest, recorded, and kept on resume."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faces
import pytest
import torch
import trainer_runs

from tests.rigs.patience import PATIENCE
from trainers.engine import checkpoint, threads
from trainers.engine import config as options


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "cores", "best"),
    [
        ({16: 1.0, 8: 1.8, 4: 3.1}, 16, 16),
        ({16: 9.0, 8: 4.0, 4: 2.0, 2: 1.0, 1: 0.9}, 16, 1),
        ({4: 1.0, 2: 1.02, 1: 1.8}, 4, 2),
        ({6: 1.0, 3: 0.7, 1: 0.9}, 6, 3),
        ({8: 1.0, 4: 1.1, 2: 0.8, 1: 1.5}, 8, 2),
        ({1: 1.0}, 1, 1),
    ],
)
def test_the_fastest_number_of_threads_is_found_from_all_cores_down(seconds, cores, best):
    assert threads.fastest(cores, seconds.__getitem__) == best


class Machine:
    """Tells how long a step takes with a number of threads while the load of the machine changes."""

    def __init__(self, seconds: dict[int, float], load: Callable[[int], float]) -> None:
        self.seconds, self.load, self.asked = seconds, load, []

    def __call__(self, count: int) -> float:
        self.asked.append(count)
        return self.seconds[count] * self.load(len(self.asked))


LOADS = {
    "a burst in one turn": lambda turn: 50.0 if turn == 9 else 1.0,
    "bursts now and then": lambda turn: 8.0 if turn in (1, 4, 11, 12, 20) else 1.0,
    "a load that grows": lambda turn: 1.2**turn,
    "a load that ends half way": lambda turn: 6.0 if turn < 10 else 1.0,
    "a slow first step": lambda turn: 1.9 if turn == 1 else 1.0,
}


@pytest.mark.parametrize("load", LOADS.values(), ids=list(LOADS))
@pytest.mark.parametrize(("seconds", "best"), [({2: 1.0, 1: 1.25}, 2), ({2: 1.25, 1: 1.0}, 1)])
def test_the_load_of_other_programs_does_not_decide_the_threads(load, seconds, best):
    measured = {count: 0.01 * value for count, value in seconds.items()}
    assert threads.fastest(2, Machine(measured, load)) == best


def test_slow_steps_are_measured_in_fewer_turns():
    quick, slow = (Machine({2: step, 1: 1.5 * step}, lambda _: 1.0) for step in (0.01, 60.0))
    assert threads.fastest(2, quick) == threads.fastest(2, slow) == 2
    assert [len(machine.asked) for machine in (quick, slow)] == [2 + 4 * threads.ROUNDS, 2 + 4]


class Learner:
    """What `settle` reads of a learner on a GPU, where nothing is measured."""

    class group:  # noqa: N801
        device, size = torch.device("meta"), 1


@pytest.mark.parametrize(("option", "recorded", "count"), [(0, 3, 3), (2, None, 2), (2, 3, 3)])
def test_the_recorded_number_of_threads_precedes_the_option(option, recorded, count):
    assert threads.settle(option, recorded, Learner, None) == count
    assert torch.get_num_threads() == count


@pytest.fixture
def measured(monkeypatch):
    """Three cores, of which two are the fastest; a list of the measurements that were made."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(threads, "TURN", 0.0)
    asked: list[int] = []

    def fastest(cores: int, seconds: Callable[[int], float]) -> int:
        asked.append(cores)
        assert all(seconds(count) > 0 for count in (3, 1, 3))
        return 2

    monkeypatch.setattr(threads, "fastest", fastest)
    return asked


def test_a_training_measures_its_threads_once_and_changes_no_weight(tmp_path, measured):
    """The number is recorded and kept on resume; a run that is given it ends with the same weights."""
    folder = faces.drop_invalid_rows(faces.write(tmp_path / "faces", 300))
    run, given = (tmp_path / "root" / "runs" / name for name in ("measured", "given"))
    options = {"epochs": 2, "dropout": 0.3, "ema_decay": 0.9}
    weights = []
    for _ in range(2):  # the second one is resumed
        assert faces.train(run, folder, **options) == 0, (run / "log").read_text()
        weights.append(trainer_runs.weights(run))
        saved = checkpoint.read(run / "checkpoints" / (run / "checkpoints" / "last").read_text().strip())
        assert (measured, saved.manifest["threads"]) == ([3], 2)
    assert [start["threads"] for start in trainer_runs.events(run, "start")] == [2, 2]
    assert faces.train(given, folder, **options, threads=2) == 0
    assert measured == [3]
    assert weights == [trainer_runs.weights(given)] * 2


def test_threads_that_wait_sleep_unless_the_environment_says_otherwise(tmp_path):
    """OpenMP prints its settings when it is loaded: they must have been made before PyTorch loads it.

    The module `torch` of this test loads PyTorch's OpenMP, and ends.
    """
    (library,) = [
        *Path(torch.__file__).parent.glob("lib/libgomp*"),
        *Path(torch.__file__).parents[1].glob("torch.libs/libgomp*"),
    ]
    (tmp_path / "torch.py").write_text(f"import ctypes\nctypes.CDLL({str(library)!r})\nraise SystemExit(9)\n")
    for given, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")):
        env = {"PATH": os.environ["PATH"], "OMP_DISPLAY_ENV": "true", **given}
        code = (
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
            "from trainers import __main__ as m; m.main(['verify', '/nowhere'])"
        )
        line = [sys.executable, "-c", code]
        done = subprocess.run(line, env=env, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (done.returncode, f"OMP_WAIT_POLICY = '{policy}'" in done.stderr) == (9, True), done.stderr


def test_another_number_of_threads_is_refused_on_resume():
    assert "threads" not in options.harmless(options.LoopConfig)
