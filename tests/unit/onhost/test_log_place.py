"""A log that is renamed or deleted while its run writes to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import log_place
from orchestrator.onhost.journal import Journal

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = Layout(str(tmp_path)).run(RUN)
    Path(paths.folder).mkdir(parents=True)
    return paths


@pytest.fixture
def journal(paths: RunPaths) -> Iterator[Journal]:
    journal = Journal(paths)
    journal.say("before")
    yield journal
    os.close(journal.log)


def text(paths: RunPaths) -> str:
    return Path(paths.log).read_text().replace("gpujob: ", "")


def test_a_renamed_log_gets_its_name_again(paths: RunPaths, journal: Journal) -> None:
    Path(paths.log).rename(paths.log + ".1")
    journal.mark(1)
    journal.say("after")
    assert text(paths) == "before\nafter\n"


def test_a_log_that_logrotate_renamed_takes_the_place_of_the_empty_new_one(
    paths: RunPaths, journal: Journal
) -> None:
    Path(paths.log).rename(paths.log + ".1")
    Path(paths.log).touch()
    journal.mark(1)
    journal.say("after")
    assert text(paths) == "before\nafter\n"
    assert sorted(path.name for path in Path(paths.folder).iterdir()) == ["log", "log.1", "log.index"]


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_deleted_log_is_continued_in_a_copy(paths: RunPaths, journal: Journal, is_empty: bool) -> None:
    Path(paths.log).unlink()
    if is_empty:
        Path(paths.log).touch()
    for word in ("one", "two"):
        journal.say(word)
        journal.mark(1)
    assert text(paths) == "before\none\ntwo\n"
    journal.say("end")
    assert journal.complete() == Path(paths.log).stat().st_size
    assert text(paths) == "before\none\ntwo\nend\n"


def test_the_copy_of_a_deleted_log_appears_at_once(
    paths: RunPaths, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that goes on at an offset begins anew in a file that is shorter."""
    Path(paths.log).unlink()
    sizes, write = [], os.write

    def watched(descriptor: int, block: bytes) -> int:
        sizes.append(Path(paths.log).stat().st_size if Path(paths.log).exists() else -1)
        return write(descriptor, block[:4])

    monkeypatch.setattr(log_place.os, "write", watched)
    journal.mark(1)
    assert set(sizes) == {-1}
    assert text(paths) == "before\n"


def test_what_somebody_wrote_in_the_place_of_the_log_is_kept(paths: RunPaths, journal: Journal) -> None:
    Path(paths.log).unlink()
    Path(paths.log).write_text("other\n")
    journal.mark(1)
    journal.say("after")
    journal.complete()
    assert text(paths) == "other\nafter\n"


def test_the_copy_of_a_deleted_log_leaves_half_of_the_disk_to_the_run(
    paths: RunPaths, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(paths.log).unlink()
    full = log_place.shutil.disk_usage(paths.folder)._replace(free=6)
    monkeypatch.setattr(log_place.shutil, "disk_usage", lambda _: full)
    journal.mark(1)
    assert Path(paths.log).read_text() == "gpu"
    monkeypatch.undo()
    journal.complete()
    assert text(paths) == "before\n"


def test_the_folder_of_a_run_that_was_removed_is_not_made_anew(paths: RunPaths, journal: Journal) -> None:
    Path(paths.log).unlink()
    Path(paths.folder).rmdir()
    journal.mark(1)
    assert journal.complete() == 0
    assert not Path(paths.folder).exists()
