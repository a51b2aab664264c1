import io
import json
import re
from pathlib import Path

import pytest

from orchestrator.core.layout import Layout
from orchestrator.core.logquery import LogQuery, Pages
from orchestrator.onhost import log_index, log_lines

RUN = "job-20261121T101112-1a2b"
ENDED = '{"ended": 1.0, "supervisor": {}, "boot": ""}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(ENDED)
    return folder


def read(folder: Path, offset: int = -1, **query: object) -> bytes:
    """What a client prints; a refusal as its message."""
    pages = sent(folder, offset, **query)
    return b"".join(content for _, content in pages)


def sent(folder: Path, offset: int = -1, **query: object) -> list[tuple[int, bytes]]:
    out = io.BytesIO()
    layout = Layout(str(folder.parent.parent))
    chosen = log_lines.Query.from_word(LogQuery(**query).to_word())  # type: ignore[arg-type]
    log_lines.send(layout, RUN, "log", offset, chosen, out)
    payload = re.sub(rb"(?s)^(.*?)-1\n$", rb"\1", unframed(out.getvalue()))
    return list(Pages().feed(payload))


def unframed(stream: bytes) -> bytes:
    payload = b""
    while not stream.startswith(b"-1\n"):
        head, _, stream = stream.partition(b"\n")
        payload, stream = payload + stream[: int(head)], stream[int(head) :]
    return payload


def test_the_last_lines_are_those_that_tail_of_the_system_prints(folder: Path) -> None:
    lines = [b"line %d " % number + b"x" * (number % 700) for number in range(3000)]
    (folder / "log").write_bytes(b"\n".join(lines) + b"\n")
    for count in (0, 1, 7, 2999, 5000):
        assert read(folder, tail=count) == b"".join(
            line + b"\n" for line in lines[len(lines) - count if count < 3000 else 0 :]
        )


def test_a_progress_bar_is_one_line_as_a_terminal_shows_it(folder: Path) -> None:
    (folder / "log").write_bytes(b"start\n" + b"".join(b"\r%d%%" % n for n in range(60_000)) + b"\nend\r\n")
    assert read(folder, tail=2) == b"59999%\nend\n"
    (folder / "log").write_bytes(b"start\n10%\r20%\r30%")
    assert read(folder, tail=1) == b"30%"


def test_lines_are_matched_without_their_colours_on_the_host(folder: Path) -> None:
    (folder / "log").write_bytes(b"\x1b[32mepoch\x1b[0m 1\nloss 3\nepoch 2\r\nepoch 3\repoch 4")
    assert read(folder, grep="^epoch [1-3]") == b"\x1b[32mepoch\x1b[0m 1\nepoch 2\nepoch 3\n"
    assert read(folder, grep="epoch", tail=2) == b"epoch 3\nepoch 4"


def test_a_log_of_many_blocks_loses_no_matching_line(folder: Path) -> None:
    text = b"".join(b"%d %s\n" % (n, b"y" * (n % 997)) for n in range(4000))
    (folder / "log").write_bytes(text)
    pattern = rb"^\d*7 "
    wanted = [line for line in text.splitlines(keepends=True) if re.match(pattern, line)]
    assert read(folder, grep=pattern.decode()) == b"".join(wanted)
    assert read(folder, grep=pattern.decode(), tail=50) == b"".join(wanted[-50:])


def test_a_page_says_where_a_client_continues_after_a_cut(folder: Path) -> None:
    text = b"".join(b"%d %s\n" % (n, b"z" * 300) for n in range(1500))
    (folder / "log").write_bytes(text)
    for query in ({}, {"grep": "5"}, {"tail": 1000}, {"tail": 9, "grep": "5"}):
        whole = sent(folder, **query)
        for cut in range(1, len(whole)):
            again = sent(folder, whole[cut - 1][0], **query)
            assert b"".join(c for _, c in whole[:cut] + again) == b"".join(c for _, c in whole)


def test_one_attempt_ends_where_the_next_one_begins(folder: Path) -> None:
    paths = Layout(str(folder.parent.parent)).run(RUN)
    index, log = log_index.Writer(paths), folder / "log"
    for attempt in (1, 2, 3):
        index.add(100.0 * attempt, attempt)
        with log.open("ab") as file:
            file.write(b"attempt %d\nno newline" % attempt)
    assert read(folder, attempt=1) == b"attempt 1\nno newline"
    assert read(folder, attempt=2) == b"attempt 2\nno newline"
    assert read(folder, attempt=3, grep="no") == b"no newline"
    assert "no attempt 4; the last is 3" in json.loads(read(folder, attempt=4))["message"]


def test_since_prints_whole_lines_and_misses_none(folder: Path) -> None:
    paths = Layout(str(folder.parent.parent)).run(RUN)
    index, log = log_index.Writer(paths), folder / "log"
    for second in range(0, 200, 5):
        with log.open("ab") as file:
            file.write(b"second %d\nhalf " % second)
        index.add(second, 1)
    printed = read(folder, since=100.5)
    assert printed.startswith(b"half second ")
    assert b"second 105\n" in printed
    assert b"second 80\n" not in printed
    assert len(log_index.load(paths)) < 20  # one in 15 seconds
    assert read(folder, since=4e9) == b""


def test_a_run_without_an_index_is_refused_with_the_reason(folder: Path) -> None:
    (folder / "log").write_bytes(b"a\n")
    assert "older version" in json.loads(read(folder, since=5.0))["message"]
    assert read(folder, tail=5) == b"a\n"


def test_damage_of_the_index_costs_its_lines_only(folder: Path) -> None:
    (folder / "log").write_bytes(b"a\nb\n")
    (folder / "log.index").write_bytes(b'\xff\n[1]\n{"a":1}\n[1.0, 0, 1]\n[2.0, 2, 2]\nnull\n[3')
    assert read(folder, attempt=2) == b"b\n"


def test_a_pattern_that_needs_too_long_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_MATCH_SECONDS", 0.05)
    (folder / "log").write_bytes(b"a" * 60 + b"!\n")
    assert "too long" in json.loads(read(folder, grep="(a+)+$"))["message"]


def test_a_missing_log_is_an_empty_one(folder: Path) -> None:
    for query in ({}, {"tail": 5}, {"grep": "x"}):
        assert read(folder, **query) == b""


def test_since_is_exact_again_after_the_clock_was_set_back(folder: Path) -> None:
    paths = Layout(str(folder.parent.parent)).run(RUN)
    index, log = log_index.Writer(paths), folder / "log"
    for second in (5000, 5020, 1000, 1020, 1040):
        with log.open("ab") as file:
            file.write(b"second %d\n" % second)
        index.add(second, 1)
    assert b"second 1000\n" not in read(folder, since=1025)
    assert b"second 1040\n" in read(folder, since=1025)


def test_a_log_that_was_cut_is_followed_from_its_begin(folder: Path) -> None:
    (folder / "log").write_bytes(b"new\n")
    assert sent(folder, 1000) == [(4, b"new\n")]
    (folder / "log").write_bytes(b"")
    assert sent(folder, 1000) == []
