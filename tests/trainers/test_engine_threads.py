"""The number of CPU threads: the fastest, recorded, and kept on resume."""

import faces
import pytest
import torch
import trainer_runs

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
        ({16: 1.0, 8: 1.8}, 16, 16),
        ({16: 9.0, 8: 4.0, 4: 2.0, 2: 1.0, 1: 0.9}, 16, 1),
        ({4: 1.0, 2: 1.02, 1: 1.8}, 4, 2),
        ({6: 1.0, 3: 0.7, 1: 0.9}, 6, 3),
        ({1: 1.0}, 1, 1),
    ],
)
def test_the_fastest_number_of_threads_is_found_from_all_cores_down(seconds, cores, best):
    assert threads.fastest(cores, seconds.__getitem__) == best


class Learner:
    """What `settle` reads of a learner on a GPU, where nothing is measured."""

    class group:  # noqa: N801
        device, size = torch.device("meta"), 1


@pytest.mark.parametrize(("option", "recorded", "count"), [(0, 3, 3), (2, None, 2), (2, 3, 3)])
def test_the_recorded_number_of_threads_precedes_the_option(option, recorded, count):
    assert threads.settle(option, recorded, Learner, lambda: None) == count
    assert torch.get_num_threads() == count


def test_a_training_measures_its_threads_and_records_them(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2})
    measured: list[int] = []

    def fastest(cores: int, seconds) -> int:
        measured.append(cores)
        assert seconds(1) > 0
        return 2

    monkeypatch.setattr(threads, "fastest", fastest)
    folder = faces.drop_invalid_rows(faces.write(tmp_path / "faces", 300))
    run = tmp_path / "root" / "runs" / "one"
    assert faces.train(run, folder, epochs=1) == 0, (run / "log").read_text()
    saved = checkpoint.read(run / "checkpoints" / (run / "checkpoints" / "last").read_text().strip())
    assert (measured, saved.manifest["threads"]) == ([3], 2)
    assert trainer_runs.events(run, "start")[0]["threads"] == 2


def test_another_number_of_threads_is_refused_on_resume():
    assert "threads" not in options.harmless(options.LoopConfig)
