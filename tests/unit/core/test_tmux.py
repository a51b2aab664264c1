import pytest

from orchestrator.core import tmux

AT = tmux.server("/r/tmux.sock", "/r/tmux.conf")


def test_a_session_is_made_by_one_detached_command_without_a_shell() -> None:
    assert tmux.new(AT, "gpujob-a", "/r", ["python3", "-I", "/r/a b", "x;y", "z;", ""]) == [
        *("tmux", "-u", "-S", "/r/tmux.sock", "-f", "/r/tmux.conf"),
        *("new-session", "-d", "-s", "gpujob-a", "-x", "200", "-y", "50", "-c", "/r"),
        *("python3", "-I", "/r/a b", "x;y", "z\\;", ""),
    ]


@pytest.mark.parametrize("words", [tmux.kill(AT, "n"), tmux.attach(AT, "n")])
def test_a_session_is_named_exactly_and_never_by_prefix(words: list[str]) -> None:
    targets = [words[at + 1] for at, word in enumerate(words) if word == "-t"]
    assert set(targets) <= {"=n", "=n:"}


def test_attaching_is_read_only() -> None:
    assert "-r" in tmux.attach(AT, "n")


@pytest.mark.parametrize(
    ("env", "prefix", "keys"),
    [
        ({}, "", "C-b d"),
        ({"TMUX": "/tmp/tmux-0/default,1,0"}, "C-b", "C-b C-b d"),
        ({"TMUX": "/tmp/tmux-0/default,1,0"}, "", "C-b C-b d"),
        ({"TMUX": "/tmp/tmux-0/default,1,0"}, "C-a", "C-b d"),
    ],
)
def test_the_prefix_comes_twice_in_a_tmux_with_the_same_one(
    env: dict[str, str], prefix: str, keys: str
) -> None:
    assert tmux.detach_keys(env, prefix) == keys
    assert f" {keys} leaves the run going " in tmux.attach(AT, "n", keys)


@pytest.mark.parametrize(
    ("output", "version"),
    [("tmux 3.3a", (3, 3)), ("tmux 2.6", (2, 6)), ("tmux next-3.6", (3, 6)), ("tmux master", None)],
)
def test_versions_are_read_as_numbers(output: str, version: object) -> None:
    assert tmux.parse_version(output) == version


@pytest.mark.parametrize(
    ("output", "is_usable"), [("tmux 3.3a", True), ("tmux master", True), ("tmux 2.5", False)]
)
def test_a_tmux_without_a_number_is_newer_than_any(output: str, is_usable: bool) -> None:
    assert tmux.is_usable(output) == is_usable


def test_lines_that_are_no_listing_are_skipped() -> None:
    output = "no server running on /x\ngpujob-a\t1760000000\t1\t42\n"
    assert tmux.parse_listing(output) == [tmux.Session("gpujob-a", 1760000000, 1, 42)]


@pytest.mark.parametrize("bad", ["a.b", "a:b", "", "a b", "x" * 200])
def test_names_that_tmux_would_rewrite_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        tmux.session_name(bad)
