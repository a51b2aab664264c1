"""The JSON schema of each answer, and which answers each command gives."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.context import JSON_VERSION
from orchestrator.core import results
from orchestrator.view import answers as a
from orchestrator.view import compare_answers as compared
from orchestrator.view import ec2_answers as ec2
from orchestrator.view import reach_answers as reach
from orchestrator.view.answer import Answer

ANSWERS: dict[str, tuple[type[Struct], ...]] = {
    "deploy": (a.Started, a.Plan, a.Monitor),
    "check": (a.Check,),
    "check --list": (results.Check,),
    "status": (a.Status,),
    "monitor": (a.Monitor,),
    "logs": (a.Logs,),
    "sweep": (compared.Sweep,),
    "stop": (a.Stop, ec2.Instances),
    "fetch": (a.Fetch,),
    "verify": (a.Verify,),
    "report": (compared.Report,),
    "runs": (compared.Runs,),
    "diff": (compared.Diff,),
    "export-metrics": (compared.Exported,),
    "tensorboard": (compared.Exported,),
    "evaluate": (results.Evaluation,),
    "predict": (results.Prediction,),
    "export": (results.Export,),
    "doctor": (a.Doctor,),
    "notify": (a.Notify,),
    "cp": (reach.Copied,),
    "tunnel": (reach.Tunnel,),
    "config show": (a.Config,),
    "hosts list": (ec2.Hosts,),
    "hosts up": (ec2.Up, ec2.LaunchPreview),
    "hosts attach": (ec2.Attached,),
    "hosts extend": (ec2.Instances,),
    "hosts down": (ec2.Instances,),
    "hosts types": (ec2.Types,),
    "hosts orphans": (ec2.Orphans,),
    "hosts ssh-config": (ec2.SshConfig,),
    "cost": (ec2.Cost,),
}
"""Command → what it may answer; every command may also answer ErrorAnswer. Those of `results` are a trainer's
lines, in which each known key may be null."""


def file_name(answer: type[Struct]) -> str:
    """Of its schema: LaunchPreview → launch-preview.json."""
    name = "ListedCheck" if answer is results.Check else answer.__name__
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower() + ".json"


def schema(answer: type[Struct]) -> dict[str, Any]:
    """The JSON schema of an answer, as it is on stdout."""
    definitions = msgspec.json.schema(answer)["$defs"]
    for one in definitions.values():
        one["description"] = " ".join(one.get("description", "").split())
        if "properties" in one:
            one["required"] = list(one["properties"])
    top = definitions.pop(answer.__name__)
    if not issubclass(answer, Answer):
        top["properties"] = {key: _nullable(one) for key, one in top["properties"].items()}
    top["properties"] = {"schema_version": {"const": JSON_VERSION}, **top["properties"]}
    top["required"] = list(top["properties"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": definitions}


def _nullable(value: dict[str, Any]) -> dict[str, Any]:
    kinds = value.get("anyOf", [{key: one for key, one in value.items() if key != "default"}])
    null = {"type": "null"}
    return {"anyOf": [*(kind for kind in kinds if kind != null), null]}
