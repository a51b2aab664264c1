"""Names who sends files to a host, and what must arrive there.

Two senders never write to the same partial folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from orchestrator import files
from orchestrator.context import Context
from orchestrator.onhost import folders
from orchestrator.store import client_id
from orchestrator.targets.base import Refused


@contextlib.contextmanager
def own(ctx: Context, label: str, content: str) -> Iterator[str]:
    """Yields a name that no other sender of `content` to the host `label` has, on any client.

    A command that was interrupted and is typed again gets the name that it had, so that it continues.
    """
    bucket = hashlib.sha256(f"{label} {content}".encode()).hexdigest()[:2]
    for number in itertools.count():
        name = f"{bucket}-{number}"
        with files.lock(ctx.state_dir / "senders" / f"{name}.lock", wait=False) as is_free:
            if is_free:
                yield f"{client_id(ctx)}-{name}"
                return


def expected(name: str, fingerprint: str, source: Path, precision: int) -> str:
    """Returns the fingerprint of the data at the host's precision; raises Refused if it was changed."""
    if precision == 1:
        return fingerprint
    if folders.fingerprint(str(source), 1) != fingerprint:
        raise Refused("changed", f"data {name} changed while it was sent; repeat the command")
    return folders.fingerprint(str(source), precision)
