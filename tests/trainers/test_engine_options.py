"""Options are parsed strictly, and reads are recorded."""

from dataclasses import dataclass

import pytest
import trainer_runs
import yaml

from trainers.engine.config import ClassifierConfig, Config, option, parse, unread
from trainers.facenet_lstm.config import Config as Facenet


@dataclass(frozen=True)
class Two(Config):
    clips: int = option(1, "clips", low=1, high=9)
    sizes: tuple[int, ...] = option((2, 3), "sizes", low=1)


@pytest.mark.parametrize(
    ("values", "code", "fix"),
    [
        ({"clip": 2}, "config.unknown", "did you mean `clips`?"),
        ({"zebra": 2}, "config.unknown", "the options are clips, sizes"),
        ({"clips": "2"}, "config.type", "write a whole number"),
        ({"clips": True}, "config.type", "write a whole number"),
        ({"clips": 2.0}, "config.type", "write a whole number"),
        ({"clips": 10}, "config.range", "take a value from 1 to 9"),
        ({"sizes": [1, 0]}, "config.range", "take a value of at least 1"),
        ({"sizes": 3}, "config.type", "write a list of whole numbers, such as [256, 128]"),
        ({"sizes": ["a"]}, "config.type", "write a list of whole numbers, such as [256, 128]"),
    ],
)
def test_an_invalid_value_is_refused_with_the_expected_form(values, code, fix):
    _, (finding,) = parse(Two, values)
    assert (finding.code, finding.fix, finding.key) == (code, fix, next(iter(values)))


def test_a_rate_that_yaml_reads_as_a_string_is_explained():
    _, (finding,) = parse(ClassifierConfig, {"learning_rate": "5e-4"})
    assert "5.0e-4" in finding.fix


def test_all_errors_are_reported_at_once():
    _, findings = parse(ClassifierConfig, {"epoch": 1, "seed": "x", "schedule": "linear"})
    assert [f.code for f in findings] == ["config.unknown", "config.type", "config.choice"]


def test_the_job_file_lists_valid_options_with_their_defaults():
    job = yaml.safe_load((trainer_runs.ROOT / "jobs" / "facenet-lstm.yaml").read_text())
    config, findings = parse(Facenet, job["config"])
    assert findings == []
    assert config.as_dict() == Facenet().as_dict()


def test_options_survive_a_round_trip_through_a_dict():
    config, findings = parse(Facenet, Facenet(hidden=(8,), seed=3).as_dict())
    assert findings == []
    assert config.as_dict() == Facenet(hidden=(8,), seed=3).as_dict()


def test_reads_are_recorded_and_shared_with_copies_and_export_is_no_read():
    config = Two()
    config.as_dict()
    copy = config.replace(clips=4)
    assert config.read() == frozenset()
    assert copy.clips == 4
    assert config.read() == {"clips"}
    assert [f.key for f in unread(config, {})] == ["sizes"]


def test_an_option_of_another_choice_counts_only_when_it_was_set():
    config, _ = parse(ClassifierConfig, {"step_epochs": 3})
    for name in config.as_dict():
        if name not in ("step_epochs", "step_factor"):
            getattr(config, name)
    assert [f.key for f in unread(config, {"step_epochs": 3})] == ["step_epochs"]
