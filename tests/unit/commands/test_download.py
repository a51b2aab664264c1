"""Fetch from a scripted host that is malicious, changing or broken."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.commands import download
from orchestrator.core import runfacts
from orchestrator.errors import GpujobError, UsageError
from orchestrator.targets.helper_files import StagedFile
from tests.support import Client, ScriptedHost, new_client

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def described(path: str, content: bytes) -> dict[str, Any]:
    return {"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def host(files: list[dict[str, Any]], **contents: bytes) -> ScriptedHost:
    staged = {"token": "t", "folder": "/stage", "files": files, "left_out": [], "missing": [], "no_room": []}
    digests = {file["path"]: file["sha256"] for file in files}
    named = {f"/stage/{digests[name]}": content for name, content in contents.items()}
    return ScriptedHost({"stage": staged, "unstage": {}}, named)


def bring(client: Client, of: ScriptedHost) -> Path:
    folder = client.project / "home"
    download.download_run(client.context(), of, RUN, "best", folder)
    return folder


@pytest.mark.parametrize("evil", ["../../x", "/tmp/gpujob-outside/x", "a/../../x", "", "a\0b"])
def test_a_name_that_leads_outside_writes_nothing_at_all(client: Client, evil: str) -> None:
    good = described("log", b"fine")
    lying = host([good, described(evil, b"evil")], log=b"fine", **{evil: b"evil"})
    with pytest.raises(GpujobError, match="host offered"):
        bring(client, lying)
    assert [p.name for p in (client.project / "home").rglob("*")] == [".gitignore"]
    assert ("unstage", {"run": RUN, "token": "t"}) in lying.requests


@pytest.mark.parametrize("evil", ["../../../precious", "absolute", "", "ABC", "0" * 63])
def test_an_invalid_digest_changes_no_file(client: Client, evil: str) -> None:
    """Partial files are named by their digest: a path as digest would write or remove files elsewhere.

    The test uses files of its own, since faulty code would damage them, perhaps as root.
    """
    precious = client.home / "precious"
    precious.write_text("kept")
    evil = str(precious) if evil == "absolute" else evil
    lying = host([{"path": "log", "bytes": 4, "sha256": evil}], log=b"evil")
    with pytest.raises(GpujobError, match="host offered"):
        bring(client, lying)
    assert precious.read_text() == "kept"


def test_a_link_in_the_folder_is_not_written_through(client: Client, tmp_path: Path) -> None:
    folder = client.project / "home"
    folder.mkdir()
    (folder / "outputs").symlink_to(tmp_path)
    with pytest.raises(GpujobError, match="is a link"):
        bring(client, host([described("outputs/x", b"data")], **{"outputs/x": b"data"}))
    assert list(tmp_path.iterdir()) == []


def test_what_has_the_place_of_a_file_is_named_and_nothing_is_written(client: Client) -> None:
    folder = client.project / "home"
    (folder / "log").mkdir(parents=True)
    (folder / "outputs").write_text("mine")
    (folder / "run.json").write_text(json.dumps({"id": RUN}))
    for path, what in (("log", "log is a folder"), ("outputs/x", "outputs is a file")):
        with pytest.raises(GpujobError, match=what) as error:
            bring(client, host([described(path, b"data")], **{path: b"data"}))
        assert error.value.next_step.startswith("mv ")
    assert sorted(path.name for path in folder.iterdir()) == ["log", "outputs", "run.json"]


def test_bytes_that_do_not_match_their_hash_never_get_the_final_name(client: Client) -> None:
    with pytest.raises(GpujobError, match="was damaged in transfer"):
        bring(client, host([described("log", b"true")], log=b"liar"))
    assert not (client.project / "home" / "log").exists()
    assert list((client.project / "home" / download.PARTS).iterdir()) == []


def test_a_part_is_hashed_while_it_arrives_and_not_read_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "sha256", lambda path: pytest.fail(f"{path} is read again"))
    folder = bring(
        client, host([described("log", b"whole"), described("empty", b"")], log=b"whole", empty=b"")
    )
    assert (folder / "log").read_bytes() == b"whole"


def test_a_file_that_arrives_just_before_the_end_is_hashed(tmp_path: Path) -> None:
    class Ended(threading.Event):
        """The transfer ends at the moment at which the reader asks whether it has ended."""

        def is_set(self) -> bool:
            (tmp_path / "part").write_bytes(b"whole")
            return True

    digest = download._hash_growing(tmp_path / "part", 5, Ended())
    assert digest == hashlib.sha256(b"whole").hexdigest()


def test_a_part_rewritten_while_it_is_hashed_is_hashed_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rsync rewrites a partial file in place if its content is not a prefix of the file."""
    of, read = host([described("log", b"true")], log=b"true"), threading.Event()
    followed = download._hash_growing

    def told(*words: Any) -> str | None:
        digest = followed(*words)
        read.set()
        return digest

    def receive(folder: str, names: list[str], to: Path, on_bytes: Any) -> None:
        (to / names[0]).write_bytes(b"liar")
        assert read.wait(20)
        (to / names[0]).write_bytes(b"true")

    monkeypatch.setattr(download, "_hash_growing", told)
    monkeypatch.setattr(of, "receive", receive)
    assert (bring(client, of) / "log").read_bytes() == b"true"


def test_a_part_that_shrinks_after_hashing_is_not_complete(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_hash_growing", lambda path, *_: path.name)
    with pytest.raises(GpujobError, match="was damaged in transfer"):
        bring(client, host([described("log", b"true")], log=b"tru"))


def test_a_partial_download_is_continued_and_an_overlong_one_deleted(client: Client) -> None:
    content = b"0123456789"
    parts = client.project / "home" / download.PARTS
    for part in (b"01234", content + b"more"):
        parts.mkdir(parents=True, exist_ok=True)
        (parts / hashlib.sha256(content).hexdigest()).write_bytes(part)
        assert (bring(client, host([described("log", content)], log=content)) / "log").read_bytes() == content
        (client.project / "home" / "log").unlink()


def test_complete_local_files_are_not_fetched_again(client: Client) -> None:
    of = host([described("log", b"same")], log=b"same")
    bring(client, of)
    of.files.clear()
    assert (bring(client, of) / "log").read_bytes() == b"same"


def test_a_pointer_is_fetched_after_its_checkpoint() -> None:
    names = ["checkpoints/best", "checkpoints/2/manifest.json", "checkpoints/2/model.safetensors", "log"]
    ordered = sorted(
        (StagedFile(name, 0, "") for name in names), key=lambda one: download.arrival_order(one.path)
    )
    assert [file.path for file in ordered][-2:] == ["checkpoints/2/manifest.json", "checkpoints/best"]


def test_fetched_files_are_excluded_from_the_next_code_tree(client: Client) -> None:
    folder = bring(client, host([described("log", b"x")], log=b"x"))
    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_manifest_among_the_outputs_is_not_a_checkpoint_manifest(client: Client) -> None:
    """A user script's manifest in another format is no checkpoint manifest either."""
    names = ("outputs/results/manifest.json", "checkpoints/7/manifest.json", "checkpoints/a/manifest.json")
    files = {name: name.encode() for name in names}
    folder = bring(client, host([described(name, content) for name, content in files.items()], **files))
    assert {name: (folder / name).read_bytes() for name in names} == files


@pytest.mark.parametrize(
    ("told", "exit_code", "complete"),
    [
        ({}, 0, True),
        ({"left_out": ["outputs/link"]}, 0, False),
        ({"missing": ["resuts"]}, 0, False),
        ({"missing": ["results"]}, 1, True),
    ],
)
def test_a_missing_file_is_reported_and_the_fetch_is_incomplete(
    client: Client, told: dict[str, Any], exit_code: int, complete: bool
) -> None:
    of = host([described("log", b"x")], log=b"x")
    of.answers["stage"] |= told
    home = download.download_run(client.context(), of, RUN, "all", client.project / "home")
    state = runfacts.SupervisorState(ended=1.0, reason="exit", exit_code=exit_code)
    assert home.is_complete(runfacts.RunFacts(id=RUN, state=state), 2.0) == complete


def test_a_users_file_is_not_replaced_by_a_file_of_a_run(client: Client) -> None:
    home = client.project / "home"
    home.mkdir()
    (home / "log").write_text("mine")
    with pytest.raises(UsageError, match="was not fetched from this run"):
        bring(client, host([described("events.jsonl", b"e"), described("log", b"x")], log=b"x"))
    assert [path.name for path in home.iterdir()] == ["log"]
    assert (home / "log").read_text() == "mine"


def test_an_interrupted_fetch_is_recognised_by_run_json_and_continued(client: Client) -> None:
    run_json = f'{{"id": "{RUN}"}}'.encode()
    files = [described("log", b"new"), described("run.json", run_json)]
    folder = bring(client, host(files, **{"log": b"new", "run.json": run_json}))
    (folder / "log").write_text("old")
    assert (bring(client, host(files, log=b"new")) / "log").read_bytes() == b"new"
    assert (
        min((StagedFile(**file) for file in files), key=lambda one: download.arrival_order(one.path)).path
        == "run.json"
    )


def test_files_that_the_host_had_no_space_to_copy_are_reported(client: Client) -> None:
    of = host([described("run.json", b"{}")], **{"run.json": b"{}"})
    of.answers["stage"]["no_room"] = ["log", "outputs/a", "outputs/b", "outputs/c"]
    ctx = client.context()
    download.download_run(ctx, of, RUN, "best", client.project / "home")
    stderr = ctx.stderr.getvalue()  # type: ignore[attr-defined]
    assert "outputs/c was left out until the run has ended: the host has no room to copy it" in stderr


def test_the_folder_of_all_fetched_runs_holds_runs_alone(client: Client) -> None:
    folder = bring(client, host([described("log", b"x")], log=b"x"))
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []
