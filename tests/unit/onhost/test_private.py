"""What gpujob creates on a host is private, and nothing that another user prepared is used."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core import jsontext
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.onhost import helper, private, run_environment
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.modes import main
from orchestrator.onhost.records import RunSpec
from orchestrator.targets import helper_host

RUN = "job-20261121T101112-1a2b"


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> set[str]:
    every = [folder, *folder.rglob("*")]
    return {stat.filemode(path.stat().st_mode) for path in every if not path.is_symlink()}


def test_the_helper_is_installed_privately_whatever_the_umask(tmp_path: Path, open_umask: None) -> None:
    helper_host.install(tmp_path / "root" / "onhost")
    assert modes(tmp_path / "root") == {"drwx------", "-rw-------"}


def test_a_helper_makes_private_files_whatever_the_umask(
    tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "serve", lambda layout: Path(layout.root, "file").write_text("x"))
    monkeypatch.setattr(private, "user_umask", 0o077)
    main(["helper", str(tmp_path / "a" / "root")])
    assert modes(tmp_path / "a") == {"drwx------", "-rw-------"}
    assert private.user_umask == 0  # the runs that it starts keep the user's


@pytest.mark.parametrize("mode", [0o777, 0o702, 0o1777])
def test_a_root_that_all_users_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    refused = helper.answer(Layout(str(tmp_path)), {"id": 1, "op": "status"})["refused"]
    assert (refused["kind"], str(tmp_path) in refused["message"]) == ("unsafe-root", True)
    assert "chmod go-w" in helper_host._refusal(jsontext.Object(refused)).next_step


def test_a_root_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(Refused, match="belongs to another user"):
        private.require_root(str(tmp_path))


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770])
def test_a_root_of_this_user_is_used_also_by_its_group(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    private.require_root(str(tmp_path))


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere, planted = tmp_path / "elsewhere", tmp_path / "gpujob-mark"
    elsewhere.mkdir()
    planted.symlink_to(elsewhere)
    monkeypatch.setattr(run_environment, "scratch", lambda mark: str(planted))
    with pytest.raises(Refused, match="is a link or a file"):
        run_environment.prepare(RunPaths(str(tmp_path)), RunSpec.parse({"id": RUN, "mark": "mark"}))
    assert list(elsewhere.iterdir()) == []


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    with pytest.raises(Refused, match="a folder of another user"):
        private.make_folder(str(tmp_path / "theirs"))


def test_a_tmp_that_cannot_be_written_to_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(Refused, match=r"gpujob-1 cannot be created: Read-only file system") as refused:
        private.make_folder(str(tmp_path / "gpujob-1"))
    reply = {"kind": refused.value.kind, "message": str(refused.value)}
    assert "/tmp of the host" in helper_host._refusal(jsontext.Object(reply)).next_step


def test_an_own_folder_that_others_may_enter_is_closed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    private.make_folder(str(tmp_path / "mine"))
    assert modes(tmp_path / "mine") == {"drwx------"}
