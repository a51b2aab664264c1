"""The JSON schema of a job file, for editors: jobs/job.schema.json."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.core.spec import JobSpec


def json_schema() -> dict[str, Any]:
    """A command may be a text, and a variable a number: the types in spec.py are those after reading."""
    schema = msgspec.json.schema(JobSpec)
    keys = schema["$defs"]["JobSpec"]["properties"]
    keys["command"]["anyOf"].append({"type": "string"})
    scalar = [{"type": kind} for kind in ("string", "number", "boolean")]
    schema["$defs"]["Env"]["properties"]["vars"]["additionalProperties"] = {"anyOf": scalar}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpujob job",
        **schema,
    }
