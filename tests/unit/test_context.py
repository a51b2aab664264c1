"""The output of a command with --json is one valid JSON object."""

from __future__ import annotations

import json
import math

from tests.support import new_client


def test_output_is_valid_json_also_if_a_user_script_reported_nan() -> None:
    payload = {"metrics": {"val": {"loss": math.nan, "wer": 0.5}}, "curve": [1.0, math.inf], "word": "NaN"}
    with new_client() as client:
        ctx = client.context()
        ctx.answer(payload)
    output = ctx.stdout.getvalue()  # type: ignore[attr-defined]
    assert json.loads(output, parse_constant=lambda name: f"no JSON: {name}") == {
        "schema_version": 1,
        "metrics": {"val": {"loss": None, "wer": 0.5}},
        "curve": [1.0, None],
        "word": "NaN",
    }


def test_yes_confirms_and_still_prints_what_is_confirmed() -> None:
    with new_client() as client:
        ctx = client.context(yes=True)
        ctx.confirm("launching an instance: at most $1.23")
    assert "at most $1.23" in ctx.stderr.getvalue()  # type: ignore[attr-defined]
