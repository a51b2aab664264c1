"""What every command has: its output as one valid JSON object, its user and home, its questions."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from orchestrator.errors import UsageError
from tests.support import new_client


def test_output_is_valid_json_also_if_a_user_script_reported_nan() -> None:
    payload = {"metrics": {"val": {"loss": math.nan, "wer": 0.5}}, "curve": [1.0, math.inf], "word": "NaN"}
    with new_client() as client:
        ctx = client.context()
        ctx.answer(payload)
    output = ctx.stdout.getvalue()  # type: ignore[attr-defined]
    assert json.loads(output, parse_constant=lambda name: f"no JSON: {name}") == {
        "schema_version": 2,
        "metrics": {"val": {"loss": None, "wer": 0.5}},
        "curve": [1.0, None],
        "word": "NaN",
    }


def test_a_user_id_without_a_name_is_shown_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    with new_client() as client:
        client.env.pop("USER")
        assert client.context().who.startswith("uid4000000001@")
        client.env.pop("HOME")
        with pytest.raises(UsageError, match="HOME is not set"):
            _ = client.context().home


def test_yes_confirms_and_still_prints_what_is_confirmed() -> None:
    with new_client() as client:
        ctx = client.context(yes=True)
        ctx.confirm("launching an instance: at most $1.23")
    assert "at most $1.23" in ctx.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"LC_ALL": "C.UTF-8"}, "é".encode()),
        ({"LC_ALL": "C"}, "é".encode()),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "é".encode()),
    ],
)
def test_a_name_is_decoded_as_utf8_and_shown_in_any_locale(variables: dict[str, str], shown: bytes) -> None:
    code = (
        "import os, sys; from orchestrator import cli; cli._ensure_utf8();"
        "from orchestrator.context import from_process;"
        "from_process().out(sys.argv[1]); assert os.fsencode(sys.argv[1]) == sys.argv[1].encode()"
    )
    words = [sys.executable, "-c", code, "é"]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(words, env=env, capture_output=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (shown, 0), done.stderr
