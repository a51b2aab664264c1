"""Lists the videos, parses their names, assigns splits and checks them. Standard library only."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trainers.data import emotions, folds, recording_checks, recordings, tables
from trainers.data.recording_checks import Survey
from trainers.data.recordings import Listing, Record, stem
from trainers.data.refusal import Refusal
from trainers.data.refusal_checks import refused_by
from trainers.engine import health
from trainers.engine.health import DataUnusable
from trainers.slowfast import manifest
from trainers.slowfast.config import Config

ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".flv", ".f4v", ".avi", ".wmv", ".asf", ".mkv", ".webm"),
    *(".ogv", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob"),
)
AUDIO_ONLY = "03"

CHECKS = (
    *recording_checks.CHECKS,
    refused_by("manifest", "Every video of the manifest is in the folders, with the same size"),
    refused_by("label.match", "The labels in the manifest are those of the file names"),
    refused_by("files.decodable", "Every video can be decoded"),
)


def scan(folders: Mapping[str, Path], config: Config) -> Survey:
    """List the videos in `ravdess` and `crema`; split them by the manifest in `splits`, else by the options.

    Raises DataUnusable if the manifest cannot be read.
    """
    listing = list_videos({name: path for name, path in folders.items() if name in emotions.DATASETS}, config)
    if "splits" not in folders:
        return _survey(listing, split_records(listing.records, config), config, False)
    try:
        lines = manifest.read(tables.find(folders["splits"], manifest.NAME))
    except (tables.BadTable, manifest.BadManifest) as fault:
        fix = "write it again: gpujob prepare slowfast --ravdess DIR --crema DIR --to splits"
        raise DataUnusable([health.error("manifest", str(fault), fix, "data.splits")]) from fault
    listing, split_of = manifest.choose(listing, lines)
    return _survey(listing, split_of, config, True)


def _survey(listing: Listing, split_of: Mapping[str, str], config: Config, by_manifest: bool) -> Survey:
    def split_again(records: Sequence[Record]) -> Mapping[str, str]:
        return split_of if by_manifest else split_records(records, config)

    parts = (listing.count, listing.records, listing.refused)
    return Survey(*parts, split_of, split_again, "videos", stem, config.max_refused)


def list_videos(folders: Mapping[str, Path], config: Config) -> Listing:
    """List every video below the folders, as a record or a refusal."""
    listing = recordings.scan(folders, config, ENDINGS)
    silent = [record for record in listing.records if _audio_only(record.name)]
    refused = tuple(
        Refusal(str(record.path), "labels.parse", "RAVDESS modality 03 holds no pictures", "", broken=False)
        for record in silent
    )
    rest = tuple(record for record in listing.records if record not in silent)
    return replace(listing, records=rest, refused=(*listing.refused, *refused))


def _audio_only(name: emotions.Name) -> bool:
    return isinstance(name, emotions.Ravdess) and name.modality == AUDIO_ONLY


def split_records(records: Sequence[Record], config: Config) -> dict[str, str]:
    """The split of each record id: by published folds, else as folders name it, else drawn by actor."""
    if config.folds == "none":
        return recordings.split_records(records, config)
    strata = {record.actor: record.name.stratum for record in records}
    shares = (config.seed, config.val_share, config.test_share)
    split_of = folds.by_fold(strata, config.folds, config.fold, *shares)
    return {record.id: split_of[record.actor] for record in records}
