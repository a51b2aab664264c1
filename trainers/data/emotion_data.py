"""Recordings with their splits and their packed content: what the emotion trainers learn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trainers.data import recordings
from trainers.data.packed import Cache
from trainers.data.recordings import Listing, Record, Refusal

C = TypeVar("C", bound=Cache[Any])


@dataclass(frozen=True)
class EmotionData(Generic[C]):
    """The usable records in order, what was refused, record id to split, and the content of the records."""

    found: int
    records: tuple[Record, ...]
    refused: tuple[Refusal, ...]
    home: Mapping[str, str]
    cache: C

    @property
    def fingerprint(self) -> str:
        """A hash of every usable record: its split, label and content, wherever the file is."""
        digests = {id: row.sha256 for id, row in self.cache.rows.items()}
        return recordings.fingerprint(self.records, self.home, digests)

    def by_split(self) -> dict[str, list[Record]]:
        """Split to its records."""
        return recordings.by_split(self.records, self.home)


def join(listing: Listing, home: Mapping[str, str], cache: C) -> EmotionData[C]:
    """What the names and the cache say, put together."""
    usable = tuple(record for record in listing.records if record.id in cache.rows)
    unread = [
        Refusal(record.path, fault.code, fault.reason, fault.detail)
        for record in listing.records
        if (fault := cache.refused.get(record.id))
    ]
    return EmotionData(listing.found, usable, (*listing.refused, *unread), home, cache)
