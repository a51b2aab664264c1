"""What the trainer is called, which data it needs, and its options. Standard library only."""

from dataclasses import dataclass

from trainers.data.recording_options import RecordingConfig
from trainers.engine.config import option

TITLE = "emotion from the Facenet embeddings of a video, by a masked bidirectional LSTM"

DATA = {
    "ravdess": "NPZ files with video_features (T, 512), named as RAVDESS names its videos",
    "crema": "NPZ files with video_features (T, 512), named as CREMA-D names its videos",
}
"""Folder name to what it holds."""

EITHER = True
"""Either folder may be left out."""


@dataclass(frozen=True)
class Config(RecordingConfig):
    """The options of facenet-lstm, the engine's first."""

    epochs: int = option(150, "at most", low=1)
    learning_rate: float = option(5e-4, "the peak", low=0.0)
    weight_decay: float = option(1e-3, "AdamW, on weights of two dimensions and more", low=0.0)
    warmup_epochs: float = option(10.0, "from a tenth of the rate up to it", low=0.0)
    patience: int = option(20, "epochs without a better value; 0 never stops early", low=0)
    hidden: tuple[int, ...] = option((256, 128), "units of each LSTM layer and direction", low=1)
    dense: tuple[int, ...] = option((256, 128), "units of each dense layer", low=1)
    bidirectional: bool = option(True, "read each video from both ends")
    lstm_dropout: float = option(0.25, "after each LSTM layer", low=0.0, high=0.95)
    pool_dropout: float = option(0.4, "after the mean over time", low=0.0, high=0.95)
    dense_dropout: float = option(0.5, "after each dense layer", low=0.0, high=0.95)
    min_steps: int = option(8, "fewest time steps of a video", low=1)
