from pathlib import Path

from orchestrator.store import Store


def test_an_intent_is_kept_until_it_is_closed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_intent("job", "local", {"a": 1})
    assert store.open_intent("job", "local") == {"a": 1}
    assert store.open_intent("job", "ssh://other") is None
    store.close_intent("job", "local")
    store.close_intent("job", "local")
    assert store.open_intent("job", "local") is None


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember_run("job-20261121T101112-1a2b", {"x": 1})
    (tmp_path / "runs" / "other-20261121T101112-1a2b.json").write_text("{half")
    assert list(store.runs()) == ["job-20261121T101112-1a2b"]


def test_one_deploy_of_a_job_at_a_time(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("job", "local") as first, store.lock("job", "local") as second:
        assert (first, second) == (True, False)
    with store.lock("job", "local") as third:
        assert third


def test_the_whole_folder_may_be_deleted_at_any_time(tmp_path: Path) -> None:
    store = Store(tmp_path / "gone")
    assert store.runs() == {}
    assert store.verdict("k") is None
    store.keep_verdict("k", {"v": 1})
    assert store.verdict("k") == {"v": 1}
