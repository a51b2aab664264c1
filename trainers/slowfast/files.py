"""Which videos there are, what their names tell, and the split of each. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainers.data import emotions, folds, recordings, splits
from trainers.data.recordings import Listing, Record, Refusal, stem
from trainers.slowfast import manifest
from trainers.slowfast.config import Config

ENDINGS = (".mp4", ".flv", ".avi", ".mov", ".mkv", ".webm")
AUDIO_ONLY = "03"


@dataclass(frozen=True)
class Chosen:
    """The videos that names and manifest leave, and record id to split."""

    listing: Listing
    home: Mapping[str, str]
    by_manifest: bool

    def split(self, records: Sequence[Record], config: Config) -> Mapping[str, str]:
        """The splits made once more, as `check` asks to see that they stay the same."""
        if self.by_manifest:
            return {record.id: self.home[record.id] for record in records}
        return split_records(records, config)


def scan(folders: Mapping[str, Path], config: Config) -> Listing:
    """Every video below the folders, as a record or a refusal."""
    listing = recordings.scan(folders, config, ENDINGS)
    silent = [record for record in listing.records if _audio_only(record.name)]
    refused = tuple(
        Refusal(record.path, "labels.parse", "RAVDESS modality 03 holds no pictures", "", broken=False)
        for record in silent
    )
    kept = tuple(record for record in listing.records if record not in silent)
    return replace(listing, records=kept, refused=(*listing.refused, *refused))


def _audio_only(name: emotions.Name) -> bool:
    return isinstance(name, emotions.Ravdess) and name.modality == AUDIO_ONLY


def choose(folders: Mapping[str, Path], config: Config) -> Chosen:
    """The videos of `ravdess` and `crema`, split by the manifest in `splits` or else by the options."""
    videos = {name: path for name, path in folders.items() if name in emotions.DATASETS}
    listing = scan(videos, config)
    if "splits" in folders:
        held = manifest.read(folders["splits"] / manifest.NAME)
        listing, home = manifest.choose(listing, held)
        return Chosen(listing, home, True)
    return Chosen(listing, split_records(listing.records, config), False)


def split_records(records: Sequence[Record], config: Config) -> dict[str, str]:
    """Record id to split; whole actors, and a function of their names and the options alone."""
    strata = {record.actor: record.name.stratum for record in records}
    shares = (config.seed, config.val_share, config.test_share)
    if config.folds == "none":
        home = splits.by_actor(strata, *shares)
    else:
        home = folds.by_fold(strata, config.folds, config.fold, *shares)
    return {record.id: home[record.actor] for record in records}


__all__ = ["ENDINGS", "Chosen", "choose", "scan", "split_records", "stem"]
