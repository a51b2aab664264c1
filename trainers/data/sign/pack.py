"""`prepare --phoenix DIR`: a corpus and its feature files as one packed folder, a data folder of its own."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from trainers.data import phoenix
from trainers.data.sign import data, files
from trainers.data.sign.config import SignConfig
from trainers.engine import health
from trainers.engine.events import Events


def run(sources: Mapping[str, Path], to: Path, seed: int, events: Events) -> dict[str, object]:
    """Write `to`/phoenix: 1,629 raw columns in float16, index, corpus files. Raises DataUnusable."""
    folder, target = sources["phoenix"], to / "phoenix"
    config = SignConfig()
    try:
        listing = files.scan(folder, config)
    except files.BadFolder as fault:
        raise health.DataUnusable([health.error(fault.code, fault.seen, fault.fix)]) from fault
    if listing.packed is not None:
        seen = f"{folder} is packed already"
        raise health.DataUnusable([health.error("data.folders", seen, f"--data phoenix={folder}")])
    moved = data.build(target, listing, config.min_frames, True, events)
    for path in phoenix.protocols(folder)[listing.protocol].values():
        shutil.copyfile(path, target / path.name)
    held = json.loads((target / files.INDEX).read_text())
    return {
        "folders": {"phoenix": str(target)},
        "sentences": len(held["rows"]),
        "refused": [f"{entry['id']}: {entry['reason']}" for entry in held["refused"]],
        "bytes_read": moved["read"],
        "bytes_written": moved["written"],
    }
