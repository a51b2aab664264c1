"""Files of a run, for who wants them elsewhere: read by offset, followed, hashed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from typing import Any, BinaryIO, Iterator

from orchestrator.core.layout import Layout
from orchestrator.onhost import frames, jsonfile, proc
from orchestrator.onhost.answers import Refused

CHUNK = 1 << 18
_UNBEGUN = 60.0  # seconds after which a folder without a supervisor will not get one
FOLLOWED = ("log", "events.jsonl")


def read(layout: Layout, run_id: str, name: str, offset: int, limit: int) -> dict[str, Any]:
    """Up to `limit` bytes of `log` or `events.jsonl` from `offset`, cut at the last whole line."""
    path = _followed(layout, run_id, name)
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            got = handle.read(limit)
    except FileNotFoundError:
        got = b""
    whole = got[: got.rfind(b"\n") + 1]
    if not whole and len(got) == limit:
        return {"text": "", "offset": offset + limit}  # one endless line: passed over, not waited for
    return {"text": whole.decode("utf-8", errors="replace"), "offset": offset + len(whole)}


def follow(layout: Layout, run_id: str, name: str, offset: int, out: BinaryIO) -> None:
    """The file from `offset` on, in frames, until the run has ended and all of it was sent.

    A reader that goes away ends it: the next frame cannot be written.
    """
    path = _followed(layout, run_id, name)
    writer = frames.Writer(out)
    while True:
        over = is_over(layout, run_id)  # asked before reading: what was written until then is read below
        for block in _blocks(path, offset):
            writer.write(block)
            offset += len(block)
        if over:
            writer.end()
            return
        time.sleep(0.03)


def touch(layout: Layout) -> None:
    """A transfer of ours is under way: that counts as activity for the idle limit."""
    with contextlib.suppress(OSError), open(layout.transfer, "w"):
        os.utime(layout.transfer)


def sha256(path: str) -> str:
    with open(path, "rb") as handle:
        return digest(handle, None)


def digest(source: BinaryIO, copy: BinaryIO | None) -> str:
    """sha256 of what is read, which also goes to `copy`."""
    digest = hashlib.sha256()
    for block in iter(lambda: source.read(1 << 20), b""):
        digest.update(block)
        if copy:
            copy.write(block)
    return digest.hexdigest()


def _followed(layout: Layout, run_id: str, name: str) -> str:
    if name not in FOLLOWED:
        raise Refused("name", "only %s can be read" % " and ".join(FOLLOWED))
    return os.path.join(layout.run(run_id).folder, name)


def _blocks(path: str, offset: int) -> Iterator[bytes]:
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            yield from iter(lambda: handle.read(CHUNK), b"")
    except FileNotFoundError:
        return


def is_over(layout: Layout, run_id: str) -> bool:
    """Whether nothing of a run will write any more."""
    paths = layout.run(run_id)
    state = jsonfile.load(paths.state)
    if state is None:
        return not os.path.isdir(paths.folder) or time.time() - os.stat(paths.folder).st_mtime > _UNBEGUN
    if state["ended"] is not None:
        return True
    if proc.alive(state["supervisor"], state["boot"]):
        return False
    spec = jsonfile.load(paths.run_json) or {}
    return not proc.marked(spec.get("mark", "-"))
