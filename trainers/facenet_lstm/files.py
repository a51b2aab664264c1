"""Which files hold embeddings, and what their names tell. Standard library only."""

from collections.abc import Mapping
from pathlib import Path

from trainers.data import recordings
from trainers.data.recordings import Listing
from trainers.facenet_lstm.config import Config

SUFFIX = "_facenet_features"


def stem(path: str) -> str:
    """The video's name: file name without folder, suffix and ending."""
    return recordings.stem(path).removesuffix(SUFFIX)


def scan(folders: Mapping[str, Path], config: Config) -> Listing:
    """Every NPZ file below the folders, as a record or a refusal."""
    return recordings.scan(folders, config, (".npz",), stem)
