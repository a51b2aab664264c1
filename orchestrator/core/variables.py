"""Variables of a run in a job file and in .env files: their format, and which of them are secrets. Pure."""

from __future__ import annotations

import re

from orchestrator.core.credentials import holds_credential
from orchestrator.errors import UsageError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_OURS = ("PATH", "TMPDIR", "VIRTUAL_ENV")
_LEAST_SECRET = 8  # characters; PAD_TOKEN: "<pad>" and USE_TOKEN: true are no secrets
_PASSWORD = re.compile(r"(?:.*_)?(?:PASSWORD|PASSWD|PASSPHRASE)\Z")
_SECRET_NAME = re.compile(
    r"(?:.*_)?(?:SECRET|TOKEN|APIKEY|CREDENTIALS?|"
    r"(?:API|ACCESS|SECRET|PRIVATE|AUTH|SIGNING|ENCRYPTION|ACCOUNT|STORAGE|LICENSE|SERVICE|ADMIN)_KEY(?:_ID)?)\Z"
)
_SECRET_VALUE = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{16}\b|[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
_WORDS = re.compile(r"[<{/~.$]|(?:true|false|none|null|yes|no|auto)\Z|[0-9.]+\Z", re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable looks like a key, a token or a password: by its value, or by its name."""
    if _SECRET_VALUE.search(value) or holds_credential(value.encode("utf-8", "surrogateescape")):
        return True
    name = name.upper()
    if _WORDS.match(value) or not value:
        return bool(_PASSWORD.match(name)) and value.isdigit()
    is_long = len(value) >= _LEAST_SECRET and " " not in value
    return bool(_PASSWORD.match(name) or (is_long and _SECRET_NAME.match(name)))


def lists_secret(text: str) -> bool:
    """Whether a line of text that was cut from a file in the format of .env sets a secret."""
    lines = (line.removeprefix("export ").partition("=") for line in text.splitlines())
    return any(is_secret(name.strip(), value.strip().strip("\"'")) for name, _, value in lines)


def require(name: str, value: str, where: str, key: str, is_trainer: bool = False) -> None:
    """UsageError, which begins with `where`, for a variable that a run cannot have."""
    what = f"{where}: {key}: {name}"
    if not _NAME.match(name):
        raise UsageError(f"{where}: {key}: {name!r} cannot name a variable", "letters, digits and _")
    if name.startswith("GPUJOB_") or name in _OURS or (is_trainer and name == "PYTHONPATH"):
        raise UsageError(f"{what} is set by gpujob", "the run would not find its files", f"remove {name}")
    if "\0" in value:
        raise UsageError(f"{what} has a NUL", "no variable can hold one")
    if is_secret(name, value):
        raise UsageError(
            f"{what} looks like a secret",
            "variables are stored in run.json, in the client's cache and in results",
            f"remove it here, and add pass_env: [{name}], which sends the value of your shell or of env.file",
        )


_ENTRY = re.compile(r"[ \t]*(?:export[ \t]+)?([^\s=#'\"]+)[ \t]*(=)?[ \t]*")
_COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"[^\n]*")
_REFERENCE = re.compile(r"\\(.)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|(\$[A-Za-z_{(][^\s}]*)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\n": ""}


def parse(text: str, source: str) -> dict[str, str]:
    """The variables of a .env file: `export NAME=`, comments, quotes, escapes, values of several lines.

    `${NAME}` is replaced by a value further up. UsageError with file and line for what is no variable, and
    for a reference that python-dotenv, docker compose and a shell would read differently.
    """
    variables: dict[str, str] = {}
    text, at = text.replace("\r\n", "\n"), 0
    while at < len(text):
        if skipped := _COMMENT.match(text, at):
            at = skipped.end()
            continue
        where = f"{source}:{text.count(chr(10), 0, at) + 1}"
        name, value, at = _entry(text, at, where, variables)
        variables[name] = value
    return variables


def _entry(text: str, at: int, where: str, known: dict[str, str]) -> tuple[str, str, int]:
    entry = _ENTRY.match(text, at)
    if not entry or not _NAME.match(entry[1]):
        line = text[at:].partition("\n")[0].strip()
        shown = "" if "=" in line else f" {line[:40]!r}"  # a value may be a secret
        raise UsageError(f"{where}: this is no variable{shown}", "a line is NAME=VALUE, or a comment with #")
    name, at = entry[1], entry.end()
    if not entry[2]:
        why = "gpujob does not guess whether it is empty or that of your shell"
        raise UsageError(f"{where}: {name} has no value", why, f"write {name}=, or pass_env: [{name}]")
    if single := _SINGLE.match(text, at):
        value, at = single[1], single.end()
    elif double := _DOUBLE.match(text, at):
        value, at = _replaced(double[1], where, name, known, quoted=True), double.end()
    elif text[at : at + 1] in ("'", '"'):
        raise UsageError(f"{where}: {name}: the quote is not closed")
    else:
        plain = _PLAIN.match(text, at)
        assert plain
        is_comment = plain[0].startswith("#") and text[at - 1] in " \t"
        value, at = "" if is_comment else re.split(r"[ \t]#", plain[0])[0].strip(), plain.end()
        return name, _replaced(value, where, name, known, quoted=False), at
    end = _COMMENT.match(text, at)
    if not end:
        raise UsageError(f"{where}: {name}: there is text after the closing quote", "", "quote all of it")
    return name, value, end.end()


def _replaced(text: str, where: str, name: str, known: dict[str, str], quoted: bool) -> str:
    def replace(named: re.Match[str]) -> str:
        if named[1]:
            return (
                _ESCAPES.get(named[1], named[1] if named[1] in '"\\$`' else named[0]) if quoted else named[0]
            )
        if named[2] in known:
            return known[named[2]]
        why = "programs that read .env files differ in what they make of it"
        fix = "write the value, or single quotes around a value that has a $"
        raise UsageError(f"{where}: {name} refers to {named[2] or named[3]}", why, fix)

    return _REFERENCE.sub(replace, text)
