"""The options of every trainer that learns from recordings of RAVDESS and CREMA-D. Standard library only."""

from dataclasses import dataclass

from trainers.data import splits
from trainers.engine.config import ClassifierConfig, option


@dataclass(frozen=True)
class RecordingConfig(ClassifierConfig):
    """The options of a classifier, and those that select recordings and split them by actor."""

    val_share: float = option(0.15, "fraction of the actors in val", low=0.0, high=0.5)
    test_share: float = option(0.15, "fraction of the actors in test", low=0.0, high=0.5)
    named_splits: str = splits.OPTION
    calm: str = option("drop", "class for `calm` of RAVDESS", choices=("drop", "neutral"))
    surprised: str = option("drop", "class for `surprised` of RAVDESS", choices=("drop", "neutral"))
    song: str = option("drop", "sung recordings of RAVDESS", choices=("drop", "keep"))
    twins: str = option(
        "one", "use one or both of modalities 01 and 02 of a take (same pictures)", choices=("one", "both")
    )
    max_refused: float = option(0.05, "maximum fraction of broken files", low=0.0, high=1.0)
