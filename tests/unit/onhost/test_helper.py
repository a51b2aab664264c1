import io
import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.layout import Layout
from orchestrator.onhost import (
    event_file,
    files,
    folders,
    helper,
    inventory,
    log_lines,
    staging,
    uploads,
)

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = Layout(str(tmp_path))
    (tmp_path / "runs" / RUN / "checkpoints").mkdir(parents=True)
    return root


def write(layout: Layout, name: str, content: bytes) -> Path:
    path = Path(layout.run(RUN).folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_unknown_operation_is_refused_and_the_helper_continues(layout: Layout) -> None:
    assert helper.answer(layout, {"id": 7, "op": "dance"})["refused"]["kind"] == "op"


@pytest.mark.parametrize("name", ["../../etc", "x/../../y", "job"])
def test_a_run_id_that_would_name_another_path_is_refused(layout: Layout, name: str) -> None:
    reply = helper.answer(layout, {"id": 1, "op": "stage", "run": name, "which": "best"})
    assert "not a run-id" in reply["refused"]["message"]


def test_only_log_and_events_can_be_followed(layout: Layout) -> None:
    out = io.BytesIO()
    log_lines.send(layout, RUN, "secrets.json", 0, log_lines.Query(), out)
    assert b"only log and events" in out.getvalue()


def test_following_ends_at_the_size_that_the_end_recorded(layout: Layout) -> None:
    write(layout, "log", b"abc")
    write(layout, "state.json", b'{"ended": 1.0, "log_bytes": 3, "supervisor": {}, "boot": ""}')
    out = io.BytesIO()
    log_lines.send(layout, RUN, "log", 1, log_lines.Query(), out)
    assert out.getvalue() == b"6\n3 2\nbc-1\n"


def test_the_tail_shows_a_progress_bar_as_a_terminal_would(layout: Layout) -> None:
    path = write(layout, "log", b"a\n10%\r20%\r30%\nlast\r\n")
    assert files.last_lines(str(path), 5) == ["a", "30%", "last"]


def test_a_stage_pins_a_checkpoint_that_is_pruned_meanwhile(layout: Layout) -> None:
    weights = write(layout, "checkpoints/12/model.safetensors", b"w" * 10)
    write(layout, "checkpoints/best", b"12\n")
    staged = staging.stage(layout, RUN, "best")
    weights.unlink()
    names = {file["path"]: file for file in staged["files"]}
    pinned = Path(staged["folder"]) / names["checkpoints/12/model.safetensors"]["sha256"]
    assert pinned.read_bytes() == b"w" * 10
    assert names["checkpoints/12/model.safetensors"]["sha256"] == files.sha256(str(pinned))
    staging.unstage(layout, RUN, staged["token"])
    assert not pinned.exists()


def test_a_checkpoint_pruned_while_it_is_pinned_is_selected_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(layout, "checkpoints/12/model.safetensors", b"old")
    write(layout, "checkpoints/best", b"12\n")
    real = os.link

    def pruned_meanwhile(source: str, target: str) -> None:
        if "/12/" in source:
            Path(source).unlink()
            write(layout, "checkpoints/13/model.safetensors", b"new")
            write(layout, "checkpoints/best", b"13\n")
        real(source, target)

    monkeypatch.setattr(os, "link", pruned_meanwhile)
    staged = staging.stage(layout, RUN, "best")
    assert [f["path"] for f in staged["files"] if "model" in f["path"]] == [
        "checkpoints/13/model.safetensors"
    ]
    assert len(list(Path(layout.run(RUN).stage).iterdir())) == 1


def test_an_output_outside_the_working_folder_is_skipped_and_reported(layout: Layout) -> None:
    """The log and the checkpoints must be fetched nevertheless."""
    write(layout, "run.json", b'{"outputs": ["../../../secret", "results"]}')
    write(layout, "work/results/x", b"1")
    staged = staging.stage(layout, RUN, "best")
    assert staged["left_out"] == ["../../../secret"]
    assert [f["path"] for f in staged["files"]] == ["run.json", "outputs/results/x"]


def test_a_stage_of_an_ended_helper_is_removed_by_the_next(layout: Layout) -> None:
    write(layout, ".fetch/999999-1-1/file", b"x" * 100)
    staged = staging.stage(layout, RUN, "best")
    assert [p.name for p in Path(layout.run(RUN).stage).iterdir()] == [staged["token"]]


def test_a_users_own_numbered_folder_is_copied_and_not_linked(layout: Layout) -> None:
    """It may be rewritten in place while it is fetched."""
    write(layout, "run.json", b'{"outputs": ["checkpoints"]}')
    mine = write(layout, "work/checkpoints/3/model.pt", b"first")
    staged = staging.stage(layout, RUN, "best")
    mine.write_bytes(b"other")
    (entry,) = [f for f in staged["files"] if f["path"].endswith("model.pt")]
    assert (Path(staged["folder"]) / entry["sha256"]).read_bytes() == b"first"


def test_a_link_out_of_the_run_or_to_a_folder_is_skipped_and_reported(layout: Layout) -> None:
    write(layout, "run.json", b'{"outputs": ["results"]}')
    write(layout, "work/results/real", b"x")
    results = Path(layout.run(RUN).work) / "results"
    (results / "link").symlink_to("/etc/passwd")
    (results / "folder").symlink_to("/etc")
    (results / "nowhere").symlink_to("gone")
    staged = staging.stage(layout, RUN, "best")
    assert [f["path"] for f in staged["files"] if "results" in f["path"]] == ["outputs/results/real"]
    assert staged["left_out"] == [f"outputs/results/{name}" for name in ("folder", "link", "nowhere")]


def test_a_link_to_a_file_of_the_run_is_staged_as_that_file(layout: Layout) -> None:
    """Many scripts create links such as best.pt -> epoch_3.pt."""
    write(layout, "run.json", b'{"outputs": ["results"]}')
    write(layout, "work/results/epoch_3.pt", b"weights")
    (Path(layout.run(RUN).work) / "results" / "best.pt").symlink_to("epoch_3.pt")
    staged = staging.stage(layout, RUN, "best")
    digests = {f["path"]: f["sha256"] for f in staged["files"]}
    assert digests["outputs/results/best.pt"] == digests["outputs/results/epoch_3.pt"]
    assert staged["left_out"] == staged["missing"] == []


@pytest.mark.parametrize("which", ["best", "all"])
def test_files_of_any_name_among_the_checkpoints_are_staged_too(layout: Layout, which: str) -> None:
    for name in ("checkpoints/model.pt", "checkpoints/epoch_3/w.pt", "checkpoints/.tmp-7/half", "run.json"):
        write(layout, name, b"{}")
    staged = staging.stage(layout, RUN, which)
    names = sorted(f["path"] for f in staged["files"])
    assert names == ["checkpoints/epoch_3/w.pt", "checkpoints/model.pt", "run.json"]


@pytest.mark.parametrize("which", ["best", "last", "all"])
@pytest.mark.parametrize("name", ["best", "last"])
def test_a_programs_own_best_and_last_are_staged_whatever_they_are(
    layout: Layout, which: str, name: str
) -> None:
    other = "last" if name == "best" else "best"
    write(layout, f"checkpoints/{name}/model.pt", b"a folder")
    write(layout, f"checkpoints/{other}", b"weights")
    write(layout, "checkpoints/epoch_3.pt", b"weights")
    staged = staging.stage(layout, RUN, which)
    names = sorted(f["path"] for f in staged["files"])
    assert names == sorted([f"checkpoints/{name}/model.pt", f"checkpoints/{other}", "checkpoints/epoch_3.pt"])
    assert inventory.written(layout, RUN)["checkpoints"]["unfetched"]["files"] == 3


def test_a_file_that_may_be_rewritten_in_place_is_copied(layout: Layout) -> None:
    mine = write(layout, "checkpoints/epoch_3/w.pt", b"first")
    staged = staging.stage(layout, RUN, "all")
    mine.write_bytes(b"other")
    (entry,) = staged["files"]
    assert (Path(staged["folder"]) / entry["sha256"]).read_bytes() == b"first"


def test_a_missing_output_is_reported_and_a_backslash_is_part_of_a_name(layout: Layout) -> None:
    write(layout, "run.json", b'{"outputs": ["results", "resuts"]}')
    write(layout, "work/results/a\\b", b"x")
    staged = staging.stage(layout, RUN, "best")
    assert (staged["missing"], staged["left_out"]) == (["resuts"], [])
    assert [f["path"] for f in staged["files"]] == ["run.json", "outputs/results/a\\b"]


def test_only_the_last_event_of_each_kind_is_returned(layout: Layout) -> None:
    lines = [b'{"event":"progress","step":%d}' % n for n in range(100)]
    lines += [b'{"event":"metrics","split":"val","step":1}', b'{"event":"metrics","split":"train","step":1}']
    path = write(layout, "events.jsonl", b"\n".join(lines) + b"\nhalf a li")
    events = event_file.latest(str(path))
    assert (len(events.lines), events.skipped) == (3, 0)


def test_data_on_the_host_is_a_partial_upload_or_the_last_complete_one(layout: Layout) -> None:
    folder = Path(layout.data) / "set"
    assert uploads.received(layout, "set", "f2") == {"present": False, "bytes": 0, "files": 0}
    for name, size in (("f1", 5), (".f2.partial", 7)):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_bytes(b"x" * size)
    assert uploads.received(layout, "set", "f2") == {"present": False, "bytes": 7, "files": 1}
    assert uploads.received(layout, "set", "f3") == {"present": False, "bytes": 5, "files": 1}
    assert uploads.received(layout, "set", "f1") == {"present": True}


def test_data_that_another_client_sends_at_the_same_time_is_no_error(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, partial = Path(layout.data) / "set" / "f1", Path(layout.data) / "set" / ".f2.partial"
    for folder in (complete, partial):
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"x")
    described, listed = folders.describe, os.listdir

    def describe(name: str, path: str) -> folders.DataFolder:
        if path == str(partial):
            raise FileNotFoundError(2, "No such file or directory", f"{path}/.x.Ab12Cd")
        return described(name, path)

    monkeypatch.setattr(folders, "describe", describe)
    assert uploads.received(layout, "set", "f2") == {"present": False, "bytes": 1, "files": 1}
    monkeypatch.setattr(os, "listdir", lambda path: [*listed(path), "renamed"])
    assert uploads.begin_data(layout, "set", "f2")["nearest"] == str(complete)


def test_two_senders_of_the_same_code_leave_the_files_of_each_other_alone(layout: Layout) -> None:
    """What rsync has not completed has a name of its own: .NAME.Ab12Cd."""
    one, two = (Path(uploads.begin_tree(layout, "ab", sender)["partial"]) for sender in ("a-0", "b-0"))
    for folder in (one, two):
        folder.mkdir(parents=True)
        (folder / ".x.Ab12Cd").write_bytes(b"half")
    uploads.begin_tree(layout, "ab", "a-0")
    assert ([*one.iterdir()], [path.name for path in two.iterdir()]) == ([], [".x.Ab12Cd"])


def test_the_second_sender_of_the_same_code_removes_what_it_sent(layout: Layout) -> None:
    for sender in ("a-0", "b-0"):
        partial = Path(uploads.begin_tree(layout, "x", sender)["partial"])
        partial.mkdir(parents=True)
        (partial / "a.py").write_bytes(b"1")
    entries = folders.tree_entries(str(partial), folders.walk(str(partial)))
    tree = folders.tree(entries).hash
    for sender in ("a-0", "b-0"):
        Path(layout.code, f".x.{sender}.partial").rename(Path(layout.code, f".{tree}.{sender}.partial"))
        uploads.finish_tree(layout, tree, sender)
    assert [path.name for path in Path(layout.code).iterdir()] == [tree]
    assert uploads.begin_tree(layout, tree, "c-0")["present"]


def test_what_a_client_began_to_send_a_month_ago_is_removed(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Path(uploads.begin_data(layout, "set", "f1", "a-0")["partial"])
    old.mkdir()
    uploads.begin_data(layout, "set", "f1", "b-0")
    assert old.is_dir()
    now = time.time()
    monkeypatch.setattr(uploads.time, "time", lambda: now + 31 * 24 * 3600.0)
    uploads.begin_data(layout, "set", "f1", "b-0")
    assert not old.exists()


def test_a_heartbeat_says_how_much_its_request_has_hashed(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 5000)
    files.sha256(str(tmp_path / "large"))  # of an earlier request
    sent: list[dict[str, Any]] = []

    class Answer:
        def wait(self, seconds: float) -> bool:
            files.sha256(str(tmp_path / "large"))
            return len(sent) == 2

    helper._send_heartbeats(Answer(), sent.append, {"id": 7})  # type: ignore[arg-type]
    assert sent == [{"id": 7, "heartbeat": True, "hashed": hashed} for hashed in (5000, 10_000)]
