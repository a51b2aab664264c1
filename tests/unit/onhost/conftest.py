"""Fixtures of tests of the code on hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.onhost.queue_box import Box


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)
