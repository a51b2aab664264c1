"""Writes docs/schemas/ from the types of what --json prints (orchestrator/view/*answers.py).

python docs/make_schemas.py            write them
python docs/make_schemas.py --check    exit 1 if one is out of date
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from orchestrator.context import JSON_VERSION
from orchestrator.core import results
from orchestrator.view import answers as a
from orchestrator.view import compare_answers as compared
from orchestrator.view import host_answers as hosts
from orchestrator.view.answer import Answer, ErrorAnswer

FOLDER = Path(__file__).with_name("schemas")
INTRODUCTION = """# What --json prints

`python docs/make_schemas.py` writes this folder: a JSON Schema for each answer.

- stdout holds one object, also of a command that fails; `predict`, `prepare` and `check --list` print lines.
- Every key is always there. A value that is not known, or that does not apply, is `null`.
- Times are ISO 8601 in UTC. Durations are seconds, sizes are bytes, and money is a number of US dollars.
- `schema_version` is 2. Keys may be added without a new version; a new version may rename or remove some.
- `evaluate`, `predict`, `export` and `check --list` print the objects of the trainer
  ([contract.md](../contract.md)), which may have keys of their own besides those of the schema.

| command | schemas |
|---|---|"""


ANSWERS: dict[str, tuple[type[Struct], ...]] = {
    "deploy": (a.Started, a.Plan, a.Monitor),
    "check": (a.Check,),
    "check --list": (results.Check,),
    "status": (a.Status,),
    "monitor": (a.Monitor,),
    "logs": (a.Logs,),
    "sweep": (compared.Sweep,),
    "stop": (a.Stop, hosts.Instances),
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
    "cp": (hosts.Copied,),
    "tunnel": (hosts.Tunnel,),
    "config show": (a.Config,),
    "hosts list": (hosts.Hosts,),
    "hosts up": (hosts.Up, hosts.LaunchPreview),
    "hosts attach": (hosts.Attached,),
    "hosts extend": (hosts.Instances,),
    "hosts down": (hosts.Instances,),
    "hosts types": (hosts.Types,),
    "hosts orphans": (hosts.Orphans,),
    "hosts ssh-config": (hosts.SshConfig,),
    "cost": (hosts.Cost,),
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


def pages() -> dict[str, str]:
    """File name → content."""
    kinds = {file_name(kind): kind for answers in ANSWERS.values() for kind in answers}
    kinds[file_name(ErrorAnswer)] = ErrorAnswer
    files = {name: json.dumps(schema(kind), indent=2) + "\n" for name, kind in sorted(kinds.items())}
    rows = []
    for command, answers in ANSWERS.items():
        links = ", ".join(f"[{name}]({name})" for name in map(file_name, answers))
        rows.append(f"| `gpujob {command}` | {links} |")
    rows.append(f"| any that fails | [{file_name(ErrorAnswer)}]({file_name(ErrorAnswer)}) |")
    return {**files, "README.md": "\n".join([INTRODUCTION, *rows]) + "\n"}


def outdated() -> list[str]:
    """Names of files that differ, are missing, or belong to no answer any more."""
    wanted = pages()
    present = {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()} if FOLDER.is_dir() else {}
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


if __name__ == "__main__":
    names = outdated()
    if "--check" in sys.argv:
        sys.exit(f"{', '.join(names)}: run python docs/make_schemas.py" if names else 0)
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        if (text := pages().get(name)) is None:
            (FOLDER / name).unlink()
        else:
            (FOLDER / name).write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), "utf-8")
