"""Sample data of each trainer, and options of a small model."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import trainer_runs

from tests.rigs.once import made_once
from trainers.data.sign import sample as signing
from trainers.engine.events import Silent
from trainers.facenet_lstm import sample as writer
from trainers.preflight import Request
from trainers.slowfast import sample as video_writer

os.environ["OMP_NUM_THREADS"] = "1"  # a training measures the number of threads otherwise
torch.set_num_threads(1)

TINY = {
    "hidden": [32],
    "dense": [32],
    "epochs": 3,
    "warmup_epochs": 1.0,
    "batch_size": 16,
    "learning_rate": 0.003,
    "num_workers": 0,
    "progress_seconds": 0.0,
}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ravdess` and `crema`, 240 videos; shared, so read-only.

    With a third of the frames: an LSTM takes time for each.
    """

    def make(folder: Path) -> None:
        complete = writer.Faces.features
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer.Faces, "features", lambda faces, *which: complete(faces, *which)[::3])
            writer.write(folder, 240, 0, Silent())

    return made_once(tmp_path_factory, "sample", make)


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample that a test may change. Files are links: replace them, never write to them."""
    return Path(shutil.copytree(sample, tmp_path / "data", copy_function=os.link))


@pytest.fixture
def tiny() -> dict[str, object]:
    """Options of a small model and a short run."""
    return dict(TINY)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder shared by tests of the complete sample."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def request_of(tmp_path: Path, tiny: dict[str, object]):
    """Return a function that builds a `check` request for a folder, with options added to the small ones."""

    def make(folder: Path, tier: str = "full", work: Path | None = None, **config: object):
        data = {name: str(folder / name) for name in ("ravdess", "crema")}
        return Request({**tiny, **config}, data, tier, work or tmp_path / "work")

    return make


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ravdess` and `crema`, 120 sample videos and 9 broken ones; shared, so read-only."""
    return made_once(tmp_path_factory, "videos", lambda folder: video_writer.write(folder, 120, 0, Silent()))


@pytest.fixture(scope="session")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `phoenix`: 48 synthetic sentences; shared, so read-only."""
    return made_once(tmp_path_factory, "signs", lambda folder: signing.write(folder, 48, 0, Silent()))


@pytest.fixture(scope="session")
def frames_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache shared by tests of the complete sample."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="session")
def signs_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder shared by tests of the complete `signs`."""
    return tmp_path_factory.mktemp("signs-work")


@pytest.fixture
def run_folder(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set this process up as a run; return the run's folder."""
    run = tmp_path / "runs" / "here"
    config = trainer_runs.recipe(epochs=2, checkpoint_every=4)
    for name, value in trainer_runs.environment(run, sample, config).items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, before)
