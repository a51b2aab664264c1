import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import files
from orchestrator.core import hostfacts, runfacts
from orchestrator.core.events import CheckReport, Finding
from orchestrator.core.inputs import Identity
from orchestrator.core.runfacts import RunFacts
from orchestrator.store import CachedRun, Intent, Pace, Store
from tests.support import REPOSITORY

RUN = "job-20261121T101112-1a2b"
EVENTS = [
    '{"v": 1, "t": 1.0, "event": "progress", "step": 3, "of": 10, "loss": 0.5}',
    '{"v": 1, "t": 2.0, "event": "health", "rule": "nan", "seen": "a message of version 1"}',
    '{"v": 1, "t": 3.0, "event": "metrics", "split": "val", "values": {"accuracy": 1, "b": null}}',
]


def test_an_intent_is_stored_until_it_is_closed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    intent = Intent("f", Identity(RUN, 1.0, "a@b", "m", "0.1.0"))
    store.save_intent("job", "local", intent)
    assert store.find_intent("job", "local") == intent
    assert store.find_intent("job", "ssh://other") is None
    store.close_intent("job", "local")
    store.close_intent("job", "local")
    assert store.find_intent("job", "local") is None


def test_a_damaged_file_is_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_run(CachedRun("local", 1.0, RunFacts(id=RUN)))
    for number, damaged in enumerate(
        ("{half", "[" * 100_000, "[]", '{"run": 5}', '{"target": [], "run": {}}')
    ):
        (tmp_path / "runs" / f"other-20261121T101112-000{number}.json").write_text(damaged)
    assert list(store.runs()) == [RUN]
    (tmp_path / "intents").mkdir()
    store.save_intent("job", "local", Intent("f", Identity(RUN, 1.0, "a@b", "m", "0.1.0")))
    next((tmp_path / "intents").glob("*.json")).write_text('{"fingerprint": 1}')
    assert store.find_intent("job", "local") is None


KINDS = ("runs", "targets", "verdicts")
DAMAGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("x"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a named pipe": os.mkfifo,
    "files of no use": lambda path: [path.mkdir(), (path / "a.json").mkdir(), os.mkfifo(path / "b.json")],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_cache_that_cannot_be_used_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    for kind in KINDS:
        DAMAGES[damage](tmp_path / kind)
    store = Store(tmp_path)
    store.save_run(CachedRun("local", 1.0, RunFacts(id=RUN)))
    store.save_target("local", 1.0)
    store.save_pace("local", Pace())
    store.save_report("a", CheckReport(findings=()))
    store.forget_run(RUN)
    assert store.runs() == {}
    assert store.find_report("b") is None
    assert set(store.targets()) <= {"local"}
    assert store.pace("local") == Pace()


def test_a_cached_run_is_parsed_again_only_once_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, parsed = Store(tmp_path), Store(tmp_path), list[str]()
    read = files.read_json
    monkeypatch.setattr(files, "read_json", lambda path: parsed.append(path.stem) or read(path))
    for run_id in (RUN, RUN[:-1] + "c"):
        store.save_run(CachedRun("local", 1.0, RunFacts(id=run_id)))
    assert [*store.runs()] == [*store.runs()] == parsed
    other.save_run(CachedRun("gpu", 2.0, RunFacts(id=RUN)))
    assert store.runs()[RUN].target == "gpu"
    assert parsed[2:] == [RUN]
    other.forget_run(RUN)
    assert RUN not in store.runs()


def test_what_was_saved_is_read_without_the_parser_of_damaged_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"run": {"job": "job", "created": 5, "source": "a: é\tb\nc: \u2028d"}, "events": EVENTS}
    facts = runfacts.parse_run({"id": RUN, **answer, "log": {"bytes": 3, "tail": ["é \\ \x1b[31m"]}})
    assert facts
    assert facts.record
    Store(tmp_path).save_run(CachedRun("local", 1.0, facts))
    monkeypatch.setattr(hostfacts, "parse_run", lambda answer: pytest.fail("parsed field by field"))
    assert Store(tmp_path).runs() == {RUN: CachedRun("local", 1.0, facts)}


@pytest.mark.parametrize("end", ["\\n", "\\r", "\\u000B", "\\u000c", "\\u0085", "\\u2028", "\u2029", "\x85"])
def test_a_cached_text_has_no_line_end_whoever_wrote_it(tmp_path: Path, end: str) -> None:
    Store(tmp_path).save_run(CachedRun("local", 1.0, RunFacts(id=RUN, session="a=b")))
    path = tmp_path / "runs" / f"{RUN}.json"
    path.write_text(path.read_text().replace("a=b", f"a{end}b"))
    assert Store(tmp_path).runs()[RUN].facts.session == "a b"


def test_a_run_under_the_name_of_another_is_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_run(CachedRun("local", 1.0, RunFacts(id=RUN)))
    path = tmp_path / "runs" / f"{RUN}.json"
    path.rename(path.with_name("job-20261121T101112-0000.json"))
    assert store.runs() == {}


def test_one_deploy_of_a_job_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("job", "local") as first, store.lock("job", "local") as second:
        assert (first, second) == (True, False)
    with store.lock("job", "local") as third:
        assert third


def test_the_whole_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "gone")
    assert store.runs() == {}
    assert store.find_report("k") is None
    report = CheckReport(findings=(Finding("c", "warning", "m"),))
    store.save_report("k", report)
    assert store.find_report("k") == report


def test_a_partly_unreadable_report_is_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_report("k", CheckReport(findings=()))
    path = tmp_path / "verdicts" / "k.json"
    for text in ("{}", '{"findings": [{}]}', '{"findings": 1}', '{"findings": [], "data": []}'):
        path.write_text(text)
        assert store.find_report("k") is None


def test_the_records_of_version_1_are_read() -> None:
    store = Store(REPOSITORY / "tests" / "fixtures" / "client_state_v1")
    (run,) = store.runs().values()
    assert (run.target, run.facts.job, run.facts.checkpoints.best) == ("local", "job", 2)
    assert list(store.targets()) == ["local"]
    intent = store.find_intent("other", "local")
    assert intent
    assert intent.identity.run_id == "other-20261126T010248-355d"
    report = store.find_report("bed1b6c795155f18a7fa01f0c180ff4a")
    assert report
    assert (report.trainer, report.errors, len(report.checked)) == ("blendshapes", [], 29)
    assert all(finding.message for finding in report.findings)


def test_a_run_is_the_same_after_it_was_saved_as_version_2(tmp_path: Path) -> None:
    (run,) = Store(REPOSITORY / "tests" / "fixtures" / "client_state_v1").runs().values()
    store = Store(tmp_path)
    store.save_run(run)
    (again,) = store.runs().values()
    assert repr(again) == repr(run)  # a loss is NaN, which equals nothing
