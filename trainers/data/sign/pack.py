"""`prepare --phoenix DIR`: pack a corpus and its feature files into one data folder."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trainers.data import packed, phoenix, refusal_checks
from trainers.data.refusal import Refusal
from trainers.data.sign import data, files
from trainers.data.sign.config import SignConfig
from trainers.data.sign.files import Listing
from trainers.engine import atomic, health
from trainers.engine.events import Events


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, object]:
    """Write `to`/phoenix (raw columns as float16, index, corpus files). Raises DataUnusable.

    A folder that an earlier call wrote there is replaced once the new one is complete.
    """
    folder, target = sources["phoenix"], to / "phoenix"
    config = SignConfig()
    listing = files.scan(sources, config)
    _check_target(folder, listing, target)
    to.mkdir(parents=True, exist_ok=True)
    listed = data.sources(listing.records)
    header = {"layout": listing.layout.as_dict(), "protocol": listing.protocol}
    advance = packed.progress(events, 0, len(listed))
    with tempfile.TemporaryDirectory(dir=to, prefix=".phoenix-") as work:
        made = Path(work) / "phoenix"
        packed.write(made, packed.counted(listed, advance), data.encoder(config), header)
        for path in phoenix.protocols(folder)[listing.protocol].values():
            shutil.copyfile(path, made / path.name)
        cache = data.Cache(to, [made])
        if not cache.rows:
            unread = [Refusal.of(id, fault) for id, fault in cache.refused.items()]
            nothing = replace(listing, records=(), refused=(*listing.refused, *unread))
            raise health.DataUnusable(refusal_checks.no_samples(nothing, "the corpus"))
        atomic.replace_folder(target, made)
    absent = [f"{refusal.name}: {refusal.why}" for refusal in listing.refused]
    return {
        "folders": {"phoenix": str(target)},
        "sentences": len(cache.rows),
        "refused": [*absent, *(f"{id}: {fault}" for id, fault in cache.refused.items())],
        "bytes_read": sum(source.size for source in listed),
        "bytes_written": sum(row.size for row in cache.rows.values()),
    }


def _check_target(folder: Path, listing: Listing, target: Path) -> None:
    """Raise DataUnusable unless the target, which is replaced, is absent or was written by `prepare`."""
    if listing.packed is not None:
        message = f"{folder} is packed already"
        raise health.DataUnusable([health.error("data.folders", message, f"--data phoenix={folder}")])
    if target.exists() and (folder.samefile(target) or not (target / packed.INDEX).is_file()):
        message = f"{target} exists and is not a folder that `prepare` packed"
        raise health.DataUnusable([health.error("data.folders", message, "name another folder: --to DIR")])
