"""Checkpoints of other versions or made by hand are refused with a sentence, not with a traceback."""

import hashlib
import json
from pathlib import Path
from typing import Any

import checkpoints
import pytest

from trainers.__main__ import main

PARTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a later version": ("blendshapes", {"v": 2}, "is of version 2, this program reads 1: update gpujob"),
    "a list of files": ("blendshapes", {"files": ["model.safetensors"]}, "has no usable files"),
    "no hashes": ("blendshapes", {"files": {}}, "has no usable model.safetensors"),
    "no trainer": ("blendshapes", {"trainer": None}, "has no usable trainer"),
    "no options": ("blendshapes", {"config": None}, "has no usable config"),
    "an option of another version": ("blendshapes", {"config": {"new": 1}}, "there is no option `new`"),
    "no preprocessing": ("facenet-lstm", {"preprocessing": {}}, "is no checkpoint of this version"),
    "a proof of another form": ("blendshapes", {"proof": [1]}, "its proof is not of this version"),
    "a proof of other sizes": ("blendshapes", {"proof": {"raw": [[1]], "logits": []}}, "its proof is not"),
}


def changed(name: str, root: Path, changes: dict[str, Any]) -> Path:
    """A checkpoint whose manifest has other values, and is valid otherwise."""
    folder = checkpoints.write(name, root)
    manifest = {**json.loads((folder / "manifest.json").read_text()), **changes}
    return sealed(folder, manifest)


def sealed(folder: Path, manifest: object) -> Path:
    content = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(content)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
    return folder


@pytest.mark.parametrize("part", PARTS)
def test_a_checkpoint_of_another_form_is_refused(part, tmp_path, capfd):
    name, changes, message = PARTS[part]
    assert main(["verify", str(changed(name, tmp_path, changes))]) == 1
    assert message in capfd.readouterr().err


def test_a_manifest_that_is_no_object_is_refused(tmp_path, capfd):
    folder = sealed(checkpoints.write("blendshapes", tmp_path), [])
    assert main(["verify", str(folder)]) == 1
    assert "manifest.json is of version none" in capfd.readouterr().err


@pytest.mark.parametrize("std", [[1.0], [0.0] * 4887, [float("inf")] * 4887])
def test_statistics_that_do_not_fit_each_other_are_refused(tmp_path, capfd, std):
    folder = checkpoints.write("i3d-teacher", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["preprocessing"]["normalisation"]["std"] = std
    assert main(["predict", str(sealed(folder, manifest)), str(folder)]) == 1
    assert "are no statistics" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["model.safetensors", "trainer.pt"])
def test_a_file_of_a_checkpoint_is_answered_with_its_folder(tmp_path, capfd, name):
    path = checkpoints.write("blendshapes", tmp_path) / name
    assert main(["verify", str(path)]) == 1
    assert f"{path} is a file: name the folder of a checkpoint" in capfd.readouterr().err
