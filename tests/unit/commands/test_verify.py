from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Box, new_box


@pytest.fixture
def box() -> Iterator[Box]:
    with new_box() as found:
        yield found


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    files = {"model.safetensors": b"weights" * 50, "trainer.pt": b"optimizer" * 50}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    listed = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()}
    manifest = json.dumps(
        {"v": 1, "files": listed, "trainer": "t", "step": 3, "metrics": {"acc": 0.5}}
    ).encode()
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n")
    return folder


def test_a_whole_checkpoint_is_said_to_be_whole(box: Box) -> None:
    checkpoint(box.project / "c")
    result = box.run("verify", "c", "--json")
    assert result.code == 0
    assert result.json["checkpoints"][0]["step"] == 3


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "manifest.json", "manifest.sha256"])
def test_one_flipped_bit_anywhere_is_found_and_its_file_named(box: Box, name: str) -> None:
    path = checkpoint(box.project / "c") / name
    content = bytearray(path.read_bytes())
    content[random.Random(name).randrange(min(60, len(content)))] ^= 1
    path.write_bytes(content)
    result = box.run("verify", "c")
    assert result.code == 1
    assert name in result.err or "manifest" in result.err


def test_missing_cut_and_foreign_files_are_each_named(box: Box) -> None:
    folder = checkpoint(box.project / "c")
    (folder / "trainer.pt").unlink()
    (folder / "model.safetensors").write_bytes(b"short")
    (folder / "evil.pkl").write_bytes(b"x")
    said = box.run("verify", "c").err
    for words in (
        "trainer.pt is missing",
        "model.safetensors has 5 bytes",
        "evil.pkl is not in the manifest",
    ):
        assert words in said


def test_a_manifest_that_names_files_outside_is_refused(box: Box) -> None:
    folder = checkpoint(box.project / "c")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../secret"] = {"sha256": "0", "bytes": 0}
    raw = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest())
    assert "lies outside" in box.run("verify", "c").err


def test_all_checkpoints_of_a_fetched_run_are_looked_at(box: Box) -> None:
    for step in ("2", "10"):
        checkpoint(box.project / "run" / "checkpoints" / step)
    paths = [Path(c["path"]).name for c in box.run("verify", "run", "--json").json["checkpoints"]]
    assert paths == ["2", "10"]


def test_a_folder_without_any_is_exit_3(box: Box) -> None:
    assert box.run("verify", ".").code == 3
