from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


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


def test_a_complete_checkpoint_is_reported_as_complete(client: Client) -> None:
    checkpoint(client.project / "c")
    result = client.run("verify", "c", "--json")
    assert result.code == 0
    assert result.json["checkpoints"][0]["step"] == 3


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt", "manifest.json", "manifest.sha256"])
def test_one_flipped_bit_anywhere_is_found_and_its_file_named(client: Client, name: str) -> None:
    path = checkpoint(client.project / "c") / name
    content = bytearray(path.read_bytes())
    content[random.Random(name).randrange(min(60, len(content)))] ^= 1
    path.write_bytes(content)
    result = client.run("verify", "c")
    assert result.code == 1
    assert name in result.err or "manifest" in result.err


def test_missing_cut_and_foreign_files_are_each_named(client: Client) -> None:
    folder = checkpoint(client.project / "c")
    (folder / "trainer.pt").unlink()
    (folder / "model.safetensors").write_bytes(b"short")
    (folder / "evil.pkl").write_bytes(b"x")
    stderr = client.run("verify", "c").err
    for words in (
        "trainer.pt is missing",
        "model.safetensors has 5 bytes",
        "evil.pkl is not in the manifest",
    ):
        assert words in stderr


def test_a_manifest_that_names_files_outside_is_refused(client: Client) -> None:
    folder = checkpoint(client.project / "c")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../secret"] = {"sha256": "0", "bytes": 0}
    raw = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(hashlib.sha256(raw).hexdigest())
    assert "lies outside" in client.run("verify", "c").err


def test_all_checkpoints_of_a_fetched_run_are_verified(client: Client) -> None:
    for step in ("2", "10"):
        checkpoint(client.project / "run" / "checkpoints" / step)
    paths = [Path(c["path"]).name for c in client.run("verify", "run", "--json").json["checkpoints"]]
    assert paths == ["2", "10"]


def test_a_folder_without_any_is_exit_3(client: Client) -> None:
    assert client.run("verify", ".").code == 3
