"""The options of every trainer that learns from recordings of RAVDESS and CREMA-D. Standard library only."""

from dataclasses import dataclass

from trainers.engine.config import ClassifierConfig, option


@dataclass(frozen=True)
class RecordingConfig(ClassifierConfig):
    """The loop's options, then those that choose among recordings and split them by actor."""

    val_share: float = option(0.15, "of the actors", low=0.0, high=0.5)
    test_share: float = option(0.15, "of the actors", low=0.0, high=0.5)
    calm: str = option("drop", "what RAVDESS `calm` counts as", choices=("drop", "neutral"))
    surprised: str = option("drop", "what RAVDESS `surprised` counts as", choices=("drop", "neutral"))
    song: str = option("drop", "the sung takes of RAVDESS", choices=("drop", "keep"))
    twins: str = option(
        "one", "modalities 01 and 02 of one take are the same pictures", choices=("one", "both")
    )
    max_refused: float = option(0.05, "share of broken files that is put up with", low=0.0, high=1.0)
