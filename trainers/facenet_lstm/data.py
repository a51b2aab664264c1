"""Reads and validates NPZ files of embeddings, and keeps their features in a packed cache."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.data import arrays, emotions, packed
from trainers.data.packed import Encoded, Source
from trainers.data.recording_checks import Survey
from trainers.data.refusal import Unusable, read_or_stop
from trainers.data.walk import require_content
from trainers.engine.events import Events
from trainers.facenet_lstm.config import Config
from trainers.facenet_lstm.file_checks import stem
from trainers.tasks.recordings import RecordingData, join

WIDTH = 512
KEY = "video_features"
UNIT_TOLERANCE = 1e-3


def read_npz(path: Path, min_steps: int, name: emotions.Name | None = None) -> np.ndarray:
    """Return the features (T, 512) float32 of one file. Raises Unusable, or Unread.

    With `name`, the file's `video_path` must not name another recording.
    """
    require_content(path)
    with read_or_stop(path):
        values, times, source = _parsed(path.read_bytes())
        _judge(values, min_steps)
        if times is not None:
            _judge_times(times, len(values))
        if name is not None and source:
            _same_video(name, stem(source))
        with np.errstate(over="ignore"):
            features = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(features).all():
        raise Unusable("holds values that embeddings do not have", f"up to {np.abs(values).max():.3g}")
    return features


def farthest_norm(features: np.ndarray) -> float:
    """The length of the embedding (of T, 512) whose length is farthest from 1."""
    norms = np.linalg.norm(features, axis=1)
    return float(norms[np.argmax(np.abs(norms - 1.0))])


def is_unit(norm: float) -> bool:
    """Whether this is the length of an embedding as the network gives it."""
    return abs(norm - 1.0) <= UNIT_TOLERANCE


def _parsed(content: bytes) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return the features, the time stamps (None without any), and the `video_path`."""
    with arrays.opened(content) as archive:
        keys = list(archive.keys())
        if KEY not in keys:
            raise Unusable(f"has no key {KEY}", f"it holds {', '.join(keys) or 'nothing'}")
        values = archive[KEY]
        times = archive["timestamps"] if "timestamps" in keys else None
        source = str(archive["video_path"]) if "video_path" in keys else ""
    return values, times, source


def _judge(values: np.ndarray, least: int) -> None:
    if values.ndim != 2 or values.shape[1] != WIDTH:
        raise Unusable(f"{KEY} is not (T, {WIDTH})", f"it is {values.shape}")
    if values.dtype.kind != "f":
        raise Unusable(f"{KEY} is not of floating point", f"it is {values.dtype}")
    arrays.require_course(values, least, "time step")


def _judge_times(times: np.ndarray, steps: int) -> None:
    """Raise Unusable unless there is one time for each step, and none before an earlier one."""
    if times.ndim != 1 or times.dtype.kind not in "fiu":
        raise Unusable("timestamps are not numbers (T,)", f"they are {times.dtype} {times.shape}")
    if len(times) != steps:
        raise Unusable("timestamps and features differ in length", f"{len(times)} and {steps}")
    back = np.flatnonzero(~(times[1:] >= times[:-1]))
    if len(back):
        detail = f"step {back[0] + 1} at {times[back[0] + 1]:.3g} s, after {times[back[0]]:.3g} s"
        raise Unusable("timestamps are not in the order of time", detail)


def _same_video(name: emotions.Name, source: str) -> None:
    """Raise Unusable if `source` names another recording; a name that cannot be parsed is ignored."""
    try:
        other = emotions.parse(source)
    except emotions.BadName:
        return
    if other.take != name.take:
        raise Unusable("contains another video than its name says", source, code="label.match")


@dataclass(frozen=True)
class Row(packed.Row):
    """A cached record: its number of time steps, and the norm of the embedding farthest from length 1."""

    steps: int
    norm: float


class Cache(packed.Cache[Row]):
    """The cached features of all usable records."""

    def features(self, id: str) -> np.ndarray:
        """Return the features of a record, (T, 512) float32, as a read-only view of the cache file."""
        return self.content(id).view(np.float32).reshape(-1, WIDTH)


def open_cache(root: Path, survey: Survey, min_steps: int, events: Events) -> Cache:
    """Open the cache of the surveyed files below `root`, and build its missing parts. Raises Unread."""
    names = {record.id: record.name for record in survey.records}

    def encode(source: Source) -> Encoded:
        values = read_npz(Path(source.path), min_steps, names[source.id])
        return Encoded(values.tobytes(), {"steps": len(values), "norm": farthest_norm(values)})

    sources = [Source.of(record.id, record.path, str(record.path)) for record in survey.records]
    shards = packed.shards(root, f"facenet features, min_steps {min_steps}", sources)
    return Cache(packed.ensure(shards, Row, packed.build_here(encode), events), Row)


def load(survey: Survey, config: Config, root: Path, events: Events) -> RecordingData:
    """Return the records and features of the surveyed files; unusable files are added to `refused`."""
    return join(survey, open_cache(root, survey, config.min_steps, events))
