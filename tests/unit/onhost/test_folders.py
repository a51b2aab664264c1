"""The content of a data folder: files, and the targets of links."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.onhost import folders
from orchestrator.targets.ssh.rsync import without_litter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with links to files inside and outside it, and to folders that contain links."""
    data, cache = tmp_path / "set", tmp_path / "cache" / "files"
    for path in (data / "a", cache):
        path.mkdir(parents=True)
    (data / "a" / "1.txt").write_text("one")
    (cache / "2.txt").write_text("two and more")
    (cache / "same.txt").symlink_to("2.txt")
    (cache / "up.txt").symlink_to("../files/2.txt")
    (data / "inside.txt").symlink_to("a/1.txt")
    (data / "absolute.txt").symlink_to(data / "a" / "1.txt")
    (data / "outside.txt").symlink_to(cache / "2.txt")
    (data / "again").symlink_to("a")
    (data / "files").symlink_to("../cache/files")
    return data


def test_links_count_as_their_targets(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy", symlinks=False)
    original, copy = folders.describe("x", str(folder)), folders.describe("x", str(tmp_path / "copy"))
    assert (original.files, original.bytes) == (8, 4 * 3 + 4 * 12)
    assert (original.files, original.bytes, original.fingerprint) == (
        copy.files,
        copy.bytes,
        copy.fingerprint,
    )
    assert folders.describe("x", str(folder), to_send=True) == original


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../gone", r"^a/link is a link that leads nowhere \(\.\./gone\)"),
        ("link", "^a/link is a link that leads nowhere"),
        ("..", "^a/link leads back to a folder that it is in"),
        ("../..", "^a/link/set leads back to a folder that it is in"),
    ],
)
def test_a_broken_or_circular_link_is_skipped_and_cannot_be_sent(
    folder: Path, target: str, message: str
) -> None:
    (folder / "again").unlink()
    (folder / "a" / "link").symlink_to(target)
    assert folders.describe("x", str(folder)).files
    with pytest.raises(folders.BadLink, match=message):
        folders.describe("x", str(folder), to_send=True)


def test_special_files_do_not_count(folder: Path) -> None:
    before = folders.describe("x", str(folder), to_send=True)
    os.mkfifo(folder / "pipe")
    (folder / "to-pipe").symlink_to("pipe")
    assert folders.describe("x", str(folder), to_send=True) == before


LEFT = (
    *("._1.txt", "__MACOSX/a/1.txt", "Thumbs.db", "a/thumbs.DB", "a/.DS_Store", "a/desktop.ini"),
    *("a/.ipynb_checkpoints/1-checkpoint.txt", ".git/objects/1", "__pycache__/a.pyc", "a/@eaDir/1.txt"),
)


def leave(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("left by a program")


def test_what_programs_leave_is_neither_counted_nor_hashed(folder: Path) -> None:
    before, left = folders.describe("x", str(folder), to_send=True), list[str]()
    leave(folder, *LEFT)
    (folder / ".git" / "gone").symlink_to("nowhere")
    assert folders.describe("x", str(folder), to_send=True, on_litter=left.append) == before
    assert {"._1.txt", "__MACOSX", ".git", "a/thumbs.DB", "again/thumbs.DB"} <= set(left)
    leave(folder, "a/.zarray")
    assert folders.describe("x", str(folder)).files == before.files + 2  # also below the link to a/


@pytest.mark.skipif(not shutil.which("rsync"), reason="needs rsync")
def test_rsync_sends_what_is_counted(folder: Path, tmp_path: Path) -> None:
    leave(folder, *LEFT, "a/.zarray", "a/_MACOSX", "a/git")
    words = ["rsync", "-a", "--copy-links", *without_litter(), f"{folder}/", f"{tmp_path}/sent"]
    subprocess.run(words, check=True)
    sent, counted = tmp_path / "sent", list[str]()
    described = folders.describe("x", str(folder), on_file=counted.append)
    assert {str(path.relative_to(sent)) for path in sent.rglob("*") if path.is_file()} == set(counted)
    assert folders.describe("x", str(sent)).fingerprint == described.fingerprint


def written(folder: Path, nanoseconds: int) -> None:
    folder.mkdir()
    (folder / "a").write_text("x")
    os.utime(folder / "a", ns=(nanoseconds, nanoseconds))


@pytest.mark.parametrize("precision", [100, 10**6, 10**9, 2 * 10**9])
def test_a_fingerprint_can_ignore_what_a_file_system_does_not_keep(tmp_path: Path, precision: int) -> None:
    exact = 1_700_000_001_987_654_321
    written(tmp_path / "exact", exact)
    written(tmp_path / "kept", exact - exact % precision)
    written(tmp_path / "other", exact - 2 * precision)
    prints = [folders.fingerprint(str(tmp_path / name), precision) for name in ("exact", "kept", "other")]
    assert prints[0] == prints[1] != prints[2]
    exactly = folders.describe("d", str(tmp_path / "exact")).fingerprint
    assert folders.fingerprint(str(tmp_path / "exact"), 1) == exactly != prints[0]
