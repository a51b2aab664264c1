import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.onhost.folders import LARGEST, Entry, leaves, parse_git_list, refusals, tree

entries = st.lists(
    st.builds(
        Entry, st.text(min_size=1), st.sampled_from(["file", "exec"]), st.integers(0, 9), st.text(max_size=4)
    ),
    unique_by=lambda entry: entry.path,
)


@given(entries, st.randoms())
def test_the_hash_does_not_depend_on_the_order_of_listing(given_entries: list[Entry], random: object) -> None:
    shuffled = list(given_entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert tree(shuffled).hash == tree(given_entries).hash


def test_content_name_and_mode_each_change_the_hash() -> None:
    base = Entry("a", "file", 1, "d")
    others = [Entry("b", "file", 1, "d"), Entry("a", "exec", 1, "d"), Entry("a", "file", 1, "e")]
    assert len({tree([entry]).hash for entry in [base, *others]}) == 4


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [("a/b", "../c", False), ("a/b", "../../c", True), ("a", "/etc/passwd", True), ("a", "b/../c", False)],
)
def test_links_that_leave_the_tree_are_detected(path: str, target: str, out: bool) -> None:
    assert leaves(path, target) is out


def test_files_that_cannot_be_sent_are_refused_by_name() -> None:
    wrong = tree([Entry("l", "link", 0, "", "../x"), Entry("big.bin", "file", LARGEST + 1, "")])
    assert [("l is a link" in r) or ("big.bin" in r) for r in refusals(wrong)] == [True, True]


def test_git_names_with_newlines_and_submodules_are_read() -> None:
    listed = b"100644 abc 0\ta\nb\x00160000 def 0\tsub\x00"
    assert parse_git_list(listed) == (["a\nb"], ["sub"])
