"""What a run wrote, and what of that was never fetched. Of the helper's answers."""

from __future__ import annotations

import msgspec

from orchestrator.core.decode import Count


class Unfetched(msgspec.Struct, frozen=True):
    """Files that no client has fetched as they are now; `largest`: the paths of some, largest first."""

    files: Count = 0
    bytes: Count = 0
    largest: tuple[str, ...] = ()


class Files(msgspec.Struct, frozen=True):
    files: Count = 0
    bytes: Count = 0
    unfetched: Unfetched = Unfetched()

    def __add__(self, other: Files) -> Files:
        mine, theirs = self.unfetched, other.unfetched
        largest = (*mine.largest, *theirs.largest)
        left = Unfetched(mine.files + theirs.files, mine.bytes + theirs.bytes, largest)
        return Files(self.files + other.files, self.bytes + other.bytes, left)


class Written(msgspec.Struct, frozen=True):
    """What a run wrote, in any format: below `checkpoints`, as declared `outputs`, and as `others` in its
    working folder."""

    checkpoints: Files = Files()
    outputs: Files = Files()
    others: Files = Files()
