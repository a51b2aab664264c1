"""Title, data folders and options of the trainer. Standard library only."""

from dataclasses import dataclass

from trainers.data.recordings import RecordingConfig
from trainers.engine.config import option

TITLE = "emotion from the Facenet embeddings of a video, by a masked bidirectional LSTM"

DATA = {
    "ravdess": "NPZ files with video_features (T, 512), named as RAVDESS names its videos",
    "crema": "NPZ files with video_features (T, 512), named as CREMA-D names its videos",
}
"""Maps each data folder's name to a description of its content."""

EITHER = True
"""At least one of the folders is needed; either may be missing."""


@dataclass(frozen=True)
class Config(RecordingConfig):
    """The options of facenet-lstm, in addition to those of every trainer of recordings."""

    epochs: int = option(150, "largest number of epochs", low=1)
    learning_rate: float = option(5e-4, "peak learning rate", low=0.0)
    weight_decay: float = option(1e-3, "AdamW, of parameters with two or more dimensions", low=0.0)
    warmup_epochs: float = option(10.0, "epochs over which the rate rises to its peak", low=0.0)
    patience: int = option(20, "epochs without improvement before stopping; 0 never stops early", low=0)
    hidden: tuple[int, ...] = option((256, 128), "units of each LSTM layer and direction", low=1)
    dense: tuple[int, ...] = option((256, 128), "units of each dense layer", low=1)
    bidirectional: bool = option(True, "read each video forwards and backwards")
    lstm_dropout: float = option(0.25, "dropout rate after each LSTM layer", low=0.0, high=0.95)
    pool_dropout: float = option(0.4, "dropout rate after the mean over time", low=0.0, high=0.95)
    dense_dropout: float = option(0.5, "dropout rate after each dense layer", low=0.0, high=0.95)
    min_steps: int = option(8, "fewest time steps of a video", low=1)
