"""What counts as a data folder's content: files, and what links lead to."""

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.onhost import datafolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with links within, out of it, to folders, and one to a folder with links of its own."""
    found, cache = tmp_path / "set", tmp_path / "cache" / "files"
    for path in (found / "a", cache):
        path.mkdir(parents=True)
    (found / "a" / "1.txt").write_text("one")
    (cache / "2.txt").write_text("two and more")
    (cache / "beside.txt").symlink_to("2.txt")
    (cache / "up.txt").symlink_to("../files/2.txt")
    (found / "inside.txt").symlink_to("a/1.txt")
    (found / "absolute.txt").symlink_to(found / "a" / "1.txt")
    (found / "outside.txt").symlink_to(cache / "2.txt")
    (found / "again").symlink_to("a")
    (found / "files").symlink_to("../cache/files")
    return found


def test_links_count_as_what_they_lead_to(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy", symlinks=False)
    here, there = datafolder.describe("x", str(folder)), datafolder.describe("x", str(tmp_path / "copy"))
    assert (here.files, here.bytes) == (8, 4 * 3 + 4 * 12)
    assert (here.files, here.bytes, here.fingerprint) == (there.files, there.bytes, there.fingerprint)
    assert datafolder.describe("x", str(folder), to_send=True) == here


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../gone", r"^a/link is a link that leads nowhere \(\.\./gone\)"),
        ("link", "^a/link is a link that leads nowhere"),
        ("..", "^a/link leads back to a folder that it is in"),
        ("../..", "^a/link/set leads back to a folder that it is in"),
    ],
)
def test_a_link_that_leads_nowhere_or_back_is_passed_over_and_cannot_be_sent(
    folder: Path, target: str, said: str
) -> None:
    (folder / "again").unlink()
    (folder / "a" / "link").symlink_to(target)
    assert datafolder.describe("x", str(folder)).files
    with pytest.raises(datafolder.Unsendable, match=said):
        datafolder.describe("x", str(folder), to_send=True)


def test_what_is_neither_file_nor_folder_does_not_count(folder: Path) -> None:
    before = datafolder.describe("x", str(folder), to_send=True)
    os.mkfifo(folder / "pipe")
    (folder / "to-pipe").symlink_to("pipe")
    assert datafolder.describe("x", str(folder), to_send=True) == before
