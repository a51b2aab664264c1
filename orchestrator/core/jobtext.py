"""The text of a job file before it becomes a JobSpec: scripts, values kept as text, `--set`."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.core import shell, yamltext
from orchestrator.errors import UsageError

TEXTS: tuple[yamltext.Path, ...] = (("env", "vars"),)
"""Keys whose values are the text that the file has, whatever YAML makes of it: 1e-3, yes, 010."""


def take_texts(document: yamltext.Document, where: str) -> None:
    """A command that is a text is a shell script; setup and outputs that are one are lists of that alone."""
    value = document.value
    for key in ("setup", "outputs"):
        if isinstance(value.get(key), str):
            value[key] = [value[key]]
    text = value.get("command")
    if not isinstance(text, str) or not text.strip():
        return
    if "\0" in text or len(text.encode()) > shell.LONGEST_SCRIPT:
        why = f"a script in a job file has at most {shell.LONGEST_SCRIPT:,} bytes, and no NUL"
        raise UsageError(f"{where}: command is too long", why, "command: [bash, train.sh]")
    value["command"] = shell.script_words(text, "command")


def require_values(document: yamltext.Document, where: Callable[[str], str]) -> None:
    """UsageError for a variable without a value; `where` has its line."""
    env = document.value.get("env")
    listed = env.get("vars") if isinstance(env, dict) else None
    for name, text in listed.items() if isinstance(listed, dict) else ():
        if not isinstance(text, str):
            fix = f'write {name}: "" for an empty value, or pass_env: [{name}] for that of your shell'
            raise UsageError(f"{where(name)}: env.vars.{name} has no text as its value", "", fix)


def set_value(document: yamltext.Document, key: str, text: str, known: tuple[str, ...]) -> None:
    """`--set config.lr=1e-3`: a dotted path in the job file. null takes the key away."""
    *parents, last = key.split(".")
    at, lines = document.value, document.lines
    for depth, parent in enumerate(parents):
        at = at.setdefault(parent, {})
        if not isinstance(at, dict):
            raise UsageError(f"--set {key}: {'.'.join(parents[: depth + 1])} is no mapping")
    if not parents and last not in known:
        raise UsageError(
            f"--set {key}: a job has no key {last!r}", "", f"did you mean --set config.{last}=…?"
        )
    parsed = yamltext.scalar(text)
    if parsed is not None and any(key.split(".")[: len(one)] == list(one) for one in TEXTS):
        parsed = text
    if parsed is None:
        at.pop(last, None)
    else:
        at[last] = parsed
    path = (*parents, last)
    for depth in range(1, len(path)):
        lines.setdefault(path[:depth], 0)
    lines[path] = 0


def plain(message: str) -> str:
    """A message of msgspec in the words of a person who writes YAML."""
    words = {
        "`str`": "text",
        "`int`": "a whole number",
        "`float`": "a number",
        "`bool`": "true or false",
    }
    words |= {"`array`": "a list", "`object`": "a mapping", "`null`": "nothing"}
    message = message.replace(" | null`", "`")
    for programmers, peoples in words.items():
        message = message.replace(programmers, peoples)
    return message[:1].lower() + message[1:]
