from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def rewrite(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sha256").write_text(hashlib.sha256(content).hexdigest())


FILE: dict[str, Any] = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": "3"}, "step: Expected int | null, got str"),
        ({"step": 10**400}, "step: Expected int | null, got float"),
        ({"metrics": []}, "metrics: Expected object | null, got array"),
        ({"trainer": 5}, "trainer: Expected str | null, got int"),
        ({"files": []}, "files: Expected object, got array"),
        ({"files": None}, "files: Expected object, got null"),
        ({"files": {"a": {"sha256": 5, "bytes": 1}}}, "files['a'].sha256: Expected str, got int"),
        ({"files": {"a": {"sha256": "x"}}}, "files['a']: Object missing required field bytes"),
        ({"files": {"a": []}}, "files['a']: Expected object, got array"),
        ({"files": {"a" * 300: FILE}}, "lies outside"),
        ({"files": {"a\0": FILE}}, "lies outside"),
        ({"files": {"\ud800": FILE}}, "lies outside"),
        ({"files": {"": FILE}}, "lies outside"),
    ],
)
def test_an_odd_manifest_is_an_error_that_names_the_field(
    client: Client, changes: dict[str, Any], words: str
) -> None:
    folder = checkpoint(client.project / "c")
    manifest = json.loads((folder / "manifest.json").read_text())
    rewrite(folder, json.dumps({**manifest, **changes}).encode())
    result = client.run("verify", "c")
    assert (result.code, "gpujob itself" in result.err) == (1, False)
    assert words in result.err
    assert client.run("verify", "c", "--json").json["error"]["exit_code"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested deeper than 64 levels"),
        (b'{"files": {}, "data": ' + b"[" * 300 + b"]" * 300 + b"}", "nested deeper than 64 levels"),
        (b"\xff{", "not JSON"),
        (b"[]", "not a JSON object, but a list"),
        (b"", "not JSON"),
    ],
)
def test_a_manifest_that_is_no_object_is_an_error_with_the_reason(
    client: Client, content: bytes, words: str
) -> None:
    folder = checkpoint(client.project / "c")
    rewrite(folder, content)
    result = client.run("verify", "c")
    assert (result.code, words in result.err) == (1, True), result.err


def test_numbers_that_are_not_finite_in_a_manifest_are_null_in_json(client: Client) -> None:
    folder = checkpoint(client.project / "c")
    raw = (folder / "manifest.json").read_bytes().replace(b"0.5", b"Infinity")
    rewrite(folder, raw)
    assert client.run("verify", "c").code == 0
    assert client.run("verify", "c", "--json").json["checkpoints"][0]["metrics"] == {"acc": None}


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name)])
def test_a_checkpoint_file_that_is_no_file_is_missing(
    client: Client, name: str, make: Callable[[Path], object]
) -> None:
    path = checkpoint(client.project / "c") / name
    path.unlink()
    make(path)
    result = client.run("verify", "c")
    assert (result.code, f"{name} is missing" in result.err) == (1, True), result.err


def test_all_checkpoints_of_a_fetched_run_are_verified(client: Client) -> None:
    for step in ("2", "10"):
        checkpoint(client.project / "run" / "checkpoints" / step)
    paths = [Path(c["path"]).name for c in client.run("verify", "run", "--json").json["checkpoints"]]
    assert paths == ["2", "10"]


def test_a_folder_without_any_is_exit_3(client: Client) -> None:
    assert client.run("verify", ".").code == 3
