"""Finds the files of embeddings and checks their names and splits. Standard library only."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from trainers.data import recording_checks, recordings
from trainers.data.recording_checks import Survey
from trainers.data.refusal_checks import refused_by
from trainers.facenet_lstm.config import Config

SUFFIX = "_facenet_features"

CHECKS = (
    *recording_checks.CHECKS,
    refused_by("schema.keys", "Every file is a readable NPZ of embeddings (T, 512), long enough and finite"),
    refused_by("label.match", "The video named inside a file is the one that its file name says"),
)


def stem(path: str) -> str:
    """Return the video's name: the file name without folder, extension and the extractor's suffix."""
    return recordings.stem(path).removesuffix(SUFFIX)


def scan(folders: Mapping[str, Path], config: Config) -> Survey:
    """List every NPZ file below the folders, as a record or a refusal, and assign splits."""
    listing = recordings.scan(folders, config, (".npz",), stem)
    split = partial(recordings.split_records, config=config)
    return Survey(
        listing.count,
        listing.records,
        listing.refused,
        split(listing.records),
        split,
        "NPZ files",
        stem,
        config.max_refused,
    )
