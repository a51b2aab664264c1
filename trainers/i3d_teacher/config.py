"""What the trainer is called, which data it needs, and its options. Standard library only."""

from dataclasses import dataclass

from trainers.data.sign.config import DATA, SOURCES, SignConfig
from trainers.engine.config import option

TITLE = "sign language glosses from MediaPipe landmarks: modality fusion, 1-D Inception, BiLSTM, CTC"

__all__ = ["DATA", "SHARED", "SOURCES", "TITLE", "Config"]

SHARED = {
    "file_checks": "trainers.tasks.sign.file_checks",
    "prepare": "trainers.data.sign.pack",
    "sample": "trainers.data.sign.sample",
}
"""Optional modules that the trainers of sign language share."""

PRESETS = ("teacher-7.29m", "small", "tiny")


@dataclass(frozen=True)
class Config(SignConfig):
    """The options of i3d-teacher, the engine's and those of sign language first."""

    loss_per: str = option("sequence", "what the mean of the loss is over", choices=("gloss", "sequence"))
    preset: str = option(
        "teacher-7.29m", "widths; 7,287,581 parameters with 1,117 words, or smaller ones", choices=PRESETS
    )
    dropout: float = option(0.2, "of the fused modalities and before the classifier", low=0.0, high=0.95)
