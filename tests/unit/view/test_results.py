"""Results of evaluate, predict, export and prepare, for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core import decode
from orchestrator.core.results import Evaluation, Export, Prediction
from orchestrator.view import results
from tests.support import Client

EVALUATION: dict[str, Any] = {
    "values": {"accuracy": 0.75, "wer": None},
    "baseline": {"name": "majority", "values": {"accuracy": 0.5}},
    "resampled": "by actor",
    "per_class": {"happy": {"recall": 0.5, "samples": 4}},
    "classes": ["happy", "sad"],
    "confusion": [[3, 1], [0, 4]],
    "calibration": [{"confidence": 0.9, "accuracy": 0.8, "count": 5}],
    "wrong": [{"sample": "a.npz", "truth": "sad", "answer": "happy", "probability": 0.99}],
}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ({"file": "a", "error": "no face"}, "a  refused: no face"),
        ({"file": "a", "glosses": ["WETTER", "MORGEN"]}, "a  WETTER MORGEN"),
        ({"file": "a", "glosses": []}, "a  (no gloss)"),
        ({"file": "a", "label": "sad"}, "a  sad"),
        (
            {"file": "a", "label": "sad", "probabilities": {"sad": 0.931}, "truth": "happy"},
            "a  sad 0.93  (labelled happy)",
        ),
    ],
)
def test_a_prediction_is_one_line(line: dict[str, Any], shown: str) -> None:
    result = decode.struct(line, Prediction)
    assert result
    assert results.prediction(result) == shown


def test_an_evaluation_has_a_block_for_each_part_that_was_measured() -> None:
    ctx = Client(Path("/h"), Path("/p"), Path("/r")).context()
    evaluation = decode.struct(EVALUATION, Evaluation)
    assert evaluation
    blocks = results.evaluation(ctx, evaluation).split("\n\n")
    assert [block.split()[0] for block in blocks] == ["model", "class", "truth", "confidence", "most"]
    assert "0.7500" in blocks[0]
    assert "0.5000" in blocks[0]
    assert "wer" not in blocks[0]
    assert "0.99" in blocks[4]
    assert results.evaluation(ctx, Evaluation()) == ""


def test_an_export_names_both_files_and_the_largest_difference() -> None:
    export = Export("/e/model.pt2", "/e/preprocessing.json", 2e-7)
    shown = results.exported(export, lambda path: Path(path).name)
    assert shown.splitlines()[:2] == ["model.pt2", "preprocessing.json"]
    assert "2.0e-07" in shown


def test_a_line_of_prepare_is_its_message_or_its_fields() -> None:
    assert results.prepared({"message": "reading"}) == "reading"
    assert results.prepared({"v": 1, "written": "faces", "files": ["a", "b"]}) == "written faces  files 2"
