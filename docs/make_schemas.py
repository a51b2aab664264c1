"""Writes docs/schemas/ from the types of what --json prints (orchestrator/view/schemas.py).

python docs/make_schemas.py            write them
python docs/make_schemas.py --check    exit 1 if one is out of date
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from orchestrator.view.answer import ErrorAnswer
from orchestrator.view.schemas import ANSWERS, file_name, schema

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
