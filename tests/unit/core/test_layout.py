import pytest

from orchestrator.core.layout import LONGEST_SOCKET, Layout


def test_an_invalid_run_id_gives_no_path() -> None:
    for bad in ("../../etc", "job", "job-20261121T101112-1a2b/..", "-20261121T101112-1a2b", ""):
        with pytest.raises(ValueError, match="not a run-id"):
            Layout("/r/.gpujob").run(bad)


def test_paths_of_a_run_are_inside_its_folder() -> None:
    paths = Layout("/r").run("job-20261121T101112-1a2b")
    assert {p.startswith(paths.folder + "/") for p in (paths.log, paths.state, paths.work, paths.stage)} == {
        True
    }


def test_a_deep_root_gets_a_socket_short_enough_for_the_kernel() -> None:
    deep = Layout("/very" * 40, uid=7)
    assert len(deep.tmux_socket) <= LONGEST_SOCKET
    assert deep.tmux_socket != Layout("/very" * 41, uid=7).tmux_socket
