"""A box for real runs: a real tmux on a private socket, a real supervisor, real processes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator

import pytest

from tests.support import Box, new_box


@pytest.fixture
def box() -> Iterator[Box]:
    if shutil.which("tmux") is None:
        if sys.platform == "linux" and os.getuid() == 0:
            pytest.fail("tmux is missing; the set-up (scripts/system.sh) installs it")
        pytest.skip("tmux is not installed")
    with new_box() as found:
        yield found
