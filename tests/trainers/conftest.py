"""A small sample of the Facenet data, and a small recipe for it."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from trainers.data.sign import sample as signing
from trainers.engine.events import Silent
from trainers.facenet_lstm import sample as writer
from trainers.preflight import Request
from trainers.slowfast import sample as video_writer

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
    """A folder with `ravdess` and `crema`, 240 videos; nobody writes into it."""
    folder = tmp_path_factory.mktemp("sample")
    writer.write(folder, 240, 0, Silent())
    return folder


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """The sample for this test to break. The files are links: replace them, never write in them."""
    return Path(shutil.copytree(sample, tmp_path / "data", copy_function=os.link))


@pytest.fixture
def tiny() -> dict[str, object]:
    """Options of a small model and a short run."""
    return dict(TINY)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that tests of the whole sample share."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def request_of(tmp_path: Path, tiny: dict[str, object]):
    """A request to `check` a folder, with options beside the small ones."""

    def make(folder: Path, tier: str = "full", work: Path | None = None, **config: object):
        data = {name: str(folder / name) for name in ("ravdess", "crema")}
        return Request({**tiny, **config}, data, tier, work or tmp_path / "work")

    return make


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ravdess` and `crema`, 120 sample videos and 9 broken ones; nobody writes into it."""
    folder = tmp_path_factory.mktemp("videos")
    video_writer.write(folder, 120, 0, Silent())
    return folder


@pytest.fixture(scope="session")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `phoenix`: 48 sentences of made-up signing; nobody writes into it."""
    folder = tmp_path_factory.mktemp("signs")
    signing.write(folder, 48, 0, Silent())
    return folder


@pytest.fixture(scope="session")
def frames_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests of the whole sample share."""
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="session")
def signs_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder that tests of the whole of `signs` share."""
    return tmp_path_factory.mktemp("signs-work")
