import posixpath

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.paths import inside


@given(st.lists(st.sampled_from(["..", ".", "a", "", "b c", "...", "\0", "é"]), max_size=5).map("/".join))
def test_a_name_that_passes_stays_below_the_folder(name: str) -> None:
    if inside(name):
        joined = posixpath.normpath(posixpath.join("/fetched", name))
        assert joined.startswith("/fetched/")


def test_unsafe_paths_from_a_host_are_refused() -> None:
    assert not any(inside(n) for n in ("../x", "a/../../x", "/etc/passwd", "", ".", "a\0b"))
    assert inside("checkpoints/12/model.safetensors")
    assert inside("a\\b")  # a letter of a name, on every system that gpujob runs on
