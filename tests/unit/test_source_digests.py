"""The cache of digests: unchanged files are not read again, possibly changed ones always are."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import source
from orchestrator.onhost import folders
from orchestrator.source import Digests

LATER = time.time() + 1e6  # long after the test wrote its files, however late it runs


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    for name in (b"a.py", b"two\nlines", b"caf\xe9"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_bytes(name)
    (folder / "run.sh").write_text("true")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("a.py")
    return folder


def hash_tree(code: Path, when: float = LATER) -> tuple[str, list[str]]:
    """Return the hash of the tree, and the files that were read for it."""
    read: list[str] = []
    cache = Digests(code.parent / "cache", lambda: when)
    real = Digests._hash

    def counting(self: Digests, base: int, path: str, stamp: Any) -> Any:
        read.append(path)
        return real(self, base, path, stamp)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digests, "_hash", counting)
        return source.read(code, cache).tree.hash, sorted(read)


def test_only_changed_files_are_read_and_the_tree_hash_is_correct(code: Path) -> None:
    first, read = hash_tree(code)
    assert len(read) == 4
    assert first == source.read(code).tree.hash
    assert hash_tree(code) == (first, [])
    (code / "a.py").write_text("b.py")
    (code / "new").write_text("")
    changed, read = hash_tree(code)
    assert (changed, read) == (source.read(code).tree.hash, ["a.py", "new"])
    (code / "new").unlink()
    assert hash_tree(code) == (source.read(code).tree.hash, [])


def test_a_change_that_keeps_size_and_time_is_detected(code: Path) -> None:
    file = code / "a.py"
    hash_tree(code)
    before = file.stat()
    file.write_text("XXXX")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hash_tree(code) == (source.read(code).tree.hash, ["a.py"])
    (code / "other").write_text("YYYY")
    (code / "other").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hash_tree(code) == (source.read(code).tree.hash, ["a.py"])


def test_a_file_written_about_when_it_was_hashed_is_read_again(code: Path) -> None:
    """The file could change again within one clock tick without a change of its times."""
    now = (code / "a.py").stat().st_mtime
    assert len(hash_tree(code, now)[1]) == 4
    assert len(hash_tree(code, now + 1)[1]) == 4
    assert len(hash_tree(code, now + 60)[1]) == 4
    assert hash_tree(code, now + 60)[1] == []
    ahead = (now + 2e6) * 1e9
    os.utime(code / "a.py", ns=(int(ahead), int(ahead)))
    assert [hash_tree(code)[1], hash_tree(code)[1]] == [["a.py"], ["a.py"]]


def test_a_file_that_changes_while_it_is_read_is_not_cached(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched() -> float:
        (code / "a.py").write_text("grew while it was read")
        return LATER

    Digests(code.parent / "cache", touched).entries(code, ["a.py"])
    assert hash_tree(code)[1] == sorted(["a.py", "run.sh", "two\nlines", os.fsdecode(b"caf\xe9")])


@pytest.mark.parametrize("damage", [b"", b"gjdig", b"\0" * 500])
def test_a_damaged_or_deleted_cache_is_ignored(code: Path, damage: bytes) -> None:
    tree_hash = hash_tree(code)[0]
    (cache,) = (code.parent / "cache").iterdir()
    raw = cache.read_bytes()
    for content in (damage, raw[:-1], raw[:100] + b"\xff" + raw[101:]):
        cache.write_bytes(content)
        assert hash_tree(code)[0] == tree_hash
        assert hash_tree(code) == (tree_hash, [])
    cache.unlink()
    assert len(hash_tree(code)[1]) == 4


def test_a_folder_whose_files_all_changed_is_read_at_every_time(code: Path) -> None:
    """No digest can be kept then; such a cache must be read back like any other."""
    hash_tree(code)
    now = time.time()
    for path in code.iterdir():
        os.utime(path, (now, now))
    for _ in range(3):
        assert hash_tree(code, now)[0] == source.read(code).tree.hash
    assert hash_tree(code, LATER)[0] == source.read(code).tree.hash


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name)])
def test_a_cache_that_is_no_file_is_ignored(code: Path, make: Callable[[Path], object]) -> None:
    tree_hash = hash_tree(code)[0]
    (cache,) = (code.parent / "cache").iterdir()
    cache.unlink()
    make(cache)
    assert hash_tree(code)[0] == tree_hash


names = st.binary(min_size=1).map(lambda name: name.replace(b"\0", b"").decode("utf-8", "surrogateescape"))


@given(st.dictionaries(names, st.binary(), max_size=5))
def test_any_set_of_digests_is_read_back_as_it_was_saved(contents: dict[str, bytes]) -> None:
    digests = {
        name: ((len(content), 1, 2, 3), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        cache = Digests(Path(folder), time.time)
        cache._save(Path("code"), digests)
        assert cache._load(Path("code")) == digests


def test_cache_entries_are_short_and_missing_ones_are_read_again(code: Path) -> None:
    hash_tree(code)
    (cache,) = (code.parent / "cache").iterdir()
    assert cache.stat().st_size < 4 * 80 + 16
    Digests(code.parent / "cache", time.time).forget(code)
    assert len(hash_tree(code)[1]) == 4


def test_a_tracked_file_that_is_missing_or_shadowed_is_left_out(code: Path) -> None:
    names = ["a.py", "gone", "a.py/below", "link"]
    entries = Digests(code.parent / "cache", time.time).entries(code, names)
    assert entries == list(folders.tree_entries(str(code), names))
    assert [entry.path for entry in entries] == ["a.py", "link"]
