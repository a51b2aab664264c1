"""Names that the client's file system cannot store, or takes for others. Real ones need a Mac or exFAT."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.commands import storable
from tests.support import Client, new_client
from tests.unit.commands.test_download import bring, described, host


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that compares names as APFS does, and refuses what is no UTF-8."""

    def finds(_: Path, name: str, other: str) -> bool:
        return folded(name) == folded(other)

    def folded(name: str) -> str:
        return unicodedata.normalize("NFD", name).casefold()

    monkeypatch.setattr(storable, "_finds", finds)
    monkeypatch.setattr(storable, "_holds", lambda _, name: name.isprintable() and ":" not in name)


ALIKE = ["out/A", "out/a", "out/\u00e9", "out/e\u0301", "out/b", "Dir/x", "dir/x", "dir/y"]


def test_a_file_system_that_distinguishes_names_changes_none(tmp_path: Path) -> None:
    odd = ["c:d", "new\nline", "caf\udce9", "end.", "end ", "x" * 255]
    assert storable.new_names(tmp_path / "new" / "folder", [*ALIKE, *odd]) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("mac")
def test_files_that_the_disk_takes_for_one_get_two_names(tmp_path: Path) -> None:
    names = storable.new_names(tmp_path, ALIKE)
    assert sorted(names) == ["dir/x", "out/a", "out/\u00e9"]
    assert all(new.startswith(f"{old}~") for old, new in names.items())
    assert storable.new_names(tmp_path, ALIKE[::-1]) == names


@pytest.mark.usefixtures("mac")
@pytest.mark.parametrize(
    ("name", "plain"), [("c:d", "c%3Ad"), ("a\nb", "a%0Ab"), ("caf\udce9 1", "caf%E9 1")]
)
def test_a_name_that_the_disk_refuses_is_written_in_plain_letters(
    tmp_path: Path, name: str, plain: str
) -> None:
    assert storable.new_names(tmp_path, [f"out/{name}/x"]) == {f"out/{name}/x": f"out/{plain}/x"}


def test_a_name_that_is_too_long_for_the_disk_is_cut(tmp_path: Path) -> None:
    """Linux itself refuses 256 bytes."""
    long = ["a" * 256, "a" * 255 + "b"]
    names = storable.new_names(tmp_path, long)
    assert len(set(names.values())) == 2
    assert all(len(name) < 140 for name in names.values())


@pytest.mark.usefixtures("mac")
def test_a_fetch_writes_both_of_two_files_that_differ_in_case(client: Client) -> None:
    files = [described("run.json", b"{}"), described("outputs/A", b"one"), described("outputs/a", b"two")]
    folder = bring(client, host(files, **{"run.json": b"{}", "outputs/A": b"one", "outputs/a": b"two"}))
    contents = {path.read_bytes() for path in (folder / "outputs").iterdir()}
    assert contents == {b"one", b"two"}
    assert (folder / "outputs" / "A").read_bytes() == b"one"
    assert not (folder / "outputs" / "a").exists()
