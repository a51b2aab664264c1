from orchestrator.onhost.gpus import Gpu
from orchestrator.onhost.run_limits import Activity, Watch


def gpu(use_percent: int | None) -> Gpu:
    return Gpu(0, "GPU", 0, 1, use_percent, None, "GPU-1", "550")


STILL = Activity(10, 10, 0.0, [])


def test_hours_are_counted_over_all_attempts() -> None:
    watch = Watch(now=0.0, used=3500.0, max_hours=1.0, idle_minutes=None)
    assert watch.verdict(99.0, STILL) is None
    assert watch.verdict(100.0, STILL) == "hours"


def test_idle_needs_all_of_the_time_without_activity() -> None:
    watch = Watch(now=0.0, used=0.0, max_hours=None, idle_minutes=1.0)
    assert watch.verdict(5.0, STILL) is None
    assert watch.verdict(64.0, STILL) is None
    assert watch.verdict(65.0, STILL) == "idle"


def test_growth_of_log_or_events_or_a_transfer_each_count_as_activity() -> None:
    for alive in (STILL._replace(log_bytes=11), STILL._replace(event_bytes=11), STILL._replace(transfer=9.0)):
        watch = Watch(now=0.0, used=0.0, max_hours=None, idle_minutes=1.0)
        watch.verdict(0.0, STILL)
        watch.verdict(50.0, alive)
        assert watch.verdict(100.0, alive) is None
        assert watch.verdict(111.0, alive) == "idle"


def test_a_busy_gpu_is_activity_and_one_without_readings_is_not() -> None:
    busy = STILL._replace(gpus=[gpu(5)])
    mute = STILL._replace(gpus=[gpu(None)])
    for activity, verdict in ((busy, None), (mute, "idle")):
        watch = Watch(now=0.0, used=0.0, max_hours=None, idle_minutes=1.0)
        watch.verdict(0.0, activity)
        assert watch.verdict(300.0, activity) == verdict


def test_without_limits_nothing_ever_ends_a_run() -> None:
    watch = Watch(now=0.0, used=0.0, max_hours=None, idle_minutes=None)
    assert watch.verdict(1e9, STILL) is None


def test_a_run_that_is_active_on_another_host_is_not_idle() -> None:
    watch = Watch(0.0, 0.0, None, 1.0)
    assert watch.verdict(0.0, STILL) is None
    watch.note_activity(50.0)
    assert watch.verdict(100.0, STILL) is None
    assert not watch.is_active
    assert watch.verdict(110.0, STILL) == "idle"
