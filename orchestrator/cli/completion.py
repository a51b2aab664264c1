"""Answers the shell's completion without Typer, in the time of a key press; contacts no host and never fails.

completion.json has the commands and their options (docs/make_cli.py writes it). What may follow is found by
the word that the help shows for it: RUN, TARGET, ... Names with special characters are not offered: shells
evaluate what they get, and names of runs and hosts come from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

VARIABLE = "_GPUJOB_COMPLETE"
_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = os.path.dirname(_HERE)
_SAFE = re.compile(r"[A-Za-z0-9_./:@%+=~-]+\Z")
_RUN = re.compile(r"(.{1,40})-(\d{8}T\d{6}-[0-9a-f]{4})\Z")
_MOST = 200  # words that are offered; a shell that shows more asks first


def answers(env: Mapping[str, str]) -> bool:
    """Whether a shell asks that is answered here; PowerShell is left to Typer."""
    return env.get(VARIABLE) in ("complete_bash", "complete_zsh", "complete_fish")


def main(env: Mapping[str, str]) -> int:
    """Prints what the shell may offer. 1 only for fish, which then completes file names."""
    shell = env[VARIABLE]
    try:
        if shell == "complete_bash":
            words, incomplete, cut = _bash_words(env)
            matches = [(word[cut:], about) for word, about in offers(env, words, incomplete)]
        else:
            matches = offers(env, *_line_words(env))
    except Exception:  # a damaged cache or an unreadable folder offers nothing
        matches = []
    if shell == "complete_fish" and env.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if matches else 1
    with contextlib.suppress(OSError):
        os.write(1, _rendered(shell, matches).encode())
    return 0


def offers(env: Mapping[str, str], words: list[str], incomplete: str) -> list[tuple[str, str]]:
    """What may stand in the place of `incomplete` after `words`, each with its description or none."""
    with open(os.path.join(_HERE, "completion.json"), encoding="utf-8") as table:
        node = json.load(table)
    expected, position, has_options = "", 0, True
    for word in words:
        name, equals, _ = word.partition("=")
        if expected:
            expected = ""
        elif has_options and word == "--":
            has_options = False
        elif has_options and word.startswith("-"):
            expected = "" if equals else node["options"].get(name, ["", ""])[0]
        elif word in node["commands"]:
            node = node["commands"][word]
        else:
            position += 1
    name, equals, value = incomplete.partition("=")
    if expected:
        return _values(env, expected, incomplete)
    if has_options and equals and name in node["options"]:
        return _values(env, node["options"][name][0], value)
    if has_options and incomplete.startswith("-"):
        rows = [(option, about) for option, (_, about) in node["options"].items()]
    elif node["commands"]:
        rows = [(command, child["help"]) for command, child in node["commands"].items()]
    else:
        arguments = node["arguments"]
        return _values(env, arguments[min(position, len(arguments) - 1)], incomplete) if arguments else []
    return [(word, about) for word, about in rows if word.startswith(incomplete)]


def _values(env: Mapping[str, str], kind: str, incomplete: str) -> list[tuple[str, str]]:
    find = KINDS.get(kind)
    words = dict.fromkeys(find(env)) if find else {}
    return [(word, "") for word in words if word.startswith(incomplete) and _SAFE.match(word)][:_MOST]


def _bash_words(env: Mapping[str, str]) -> tuple[list[str], str, int]:
    """The words before the cursor, the one at it, and how many of its letters bash does not replace.

    Bash ends words at `:` and `=`, and replaces what follows the last one.
    """
    text = env.get("COMP_WORDS", "")
    every = text.split("\n") if "\n" in text else text.split(" ")
    current = int(env.get("COMP_CWORD", "0"))
    words: list[str] = []
    is_joined = False
    for word in every[1 : current + 1]:
        if words and (is_joined or word[:1] in (":", "=")):
            words[-1] += word
            is_joined = word in (":", "=")
        else:
            words.append(word)
    incomplete = words.pop() if words and len(every) > current else ""
    is_split = incomplete != every[current] if len(every) > current else False
    value = incomplete.partition("=")[2] if incomplete.startswith("--") else incomplete
    return words, incomplete, value.rfind(":") + 1 if is_split else 0


def _line_words(env: Mapping[str, str]) -> tuple[list[str], str]:
    line = env.get("_TYPER_COMPLETE_ARGS", "")
    words = line.split()[1:]
    return (words, "") if not words or line.endswith(" ") else (words[:-1], words[-1])


def _rendered(shell: str, matches: list[tuple[str, str]]) -> str:
    if shell == "complete_bash":
        return "\n".join(word for word, _ in matches) + "\n"
    if shell == "complete_fish":
        return "\n".join(f"{word}\t{about}" if about else word for word, about in matches) + "\n"
    if not matches:
        return "_files\n"
    rows = [
        f'"{_quoted(word)}":"{_quoted(about)}"' if about else f'"{_quoted(word)}"' for word, about in matches
    ]
    return "_arguments '*: :((" + "\n".join(rows) + "))'\n"


def _quoted(text: str) -> str:
    return re.sub(r"([\"'$`\\:()])", lambda match: "\\\\:" if match[1] == ":" else " ", text)


def _state_folder() -> str:
    from platformdirs import user_state_path

    return str(user_state_path("gpujob"))


def _names(folder: str, ending: str) -> list[str]:
    """Names of the files in a folder that end so, without the ending."""
    try:
        return sorted(name[: -len(ending)] for name in os.listdir(folder) if name.endswith(ending))
    except OSError:
        return []


def _records(folder: str) -> Iterator[dict[str, Any]]:
    for name in _names(folder, ".json"):
        with contextlib.suppress(OSError, ValueError):
            with open(os.path.join(folder, f"{name}.json"), "rb") as file:
                value = json.loads(file.read(1 << 20))
            if isinstance(value, dict):
                yield value


def runs(env: Mapping[str, str]) -> list[str]:
    """Run IDs, the newest first, then the names of their jobs."""
    matches = [
        match
        for name in _names(os.path.join(_state_folder(), "runs"), ".json")
        if (match := _RUN.match(name))
    ]
    matches.sort(key=lambda match: match[2], reverse=True)
    return [*(match[0] for match in matches), *(match[1] for match in matches)]


def jobs(env: Mapping[str, str]) -> list[str]:
    """Names of job files in the current folder, in ./jobs and in the package."""
    packaged = os.path.join(_PACKAGE, "_share", "jobs")
    shipped = packaged if os.path.isdir(packaged) else os.path.join(os.path.dirname(_PACKAGE), "jobs")
    return [name for folder in (".", "jobs", shipped) for name in _names(folder, ".yaml")]


def trainers(env: Mapping[str, str]) -> list[str]:
    """The folders beside the engine that have a configuration."""
    folder = os.path.join(os.path.dirname(_PACKAGE), "trainers")
    names = [name for name in _folders(folder) if os.path.isfile(os.path.join(folder, name, "config.py"))]
    return [name.replace("_", "-") for name in names if name != "engine"]


def instances(env: Mapping[str, str]) -> list[str]:
    """Labels of the instances that have not been terminated."""
    every = _records(os.path.join(_state_folder(), "instances"))
    return ["ec2", *(f"ec2://{one.get('id')}" for one in every if one.get("state") != "terminated")]


def targets(env: Mapping[str, str]) -> list[str]:
    """local and ec2, hosts that have answered, instances, and names of ~/.ssh/config."""
    known = [str(one.get("label")) for one in _records(os.path.join(_state_folder(), "targets"))]
    return ["local", *known, *instances(env), *ssh_hosts(env)]


def ssh_hosts(env: Mapping[str, str]) -> list[str]:
    """The names of Host lines without a pattern."""
    from orchestrator.core.sshconfig import host_names

    with contextlib.suppress(OSError), open(os.path.expanduser("~/.ssh/config"), "rb") as config:
        return host_names(config.read(1 << 20).decode("utf-8", "replace"))
    return []


def checkpoints(env: Mapping[str, str]) -> list[str]:
    """Fetched runs, and the checkpoints in them."""
    root = env.get("GPUJOB_FETCH_DIR") or "fetched"
    matches = []
    for run in sorted(_folders(root), reverse=True):
        inner = [f"{root}/{run}/checkpoints/{name}" for name in _folders(f"{root}/{run}/checkpoints")]
        matches += [f"{root}/{run}", *inner]
    return matches


def instance_types(env: Mapping[str, str]) -> list[str]:
    return list(_catalog("types"))


def gpu_models(env: Mapping[str, str]) -> list[str]:
    return sorted({str(one["gpu"]) for one in _catalog("types").values()})


def regions(env: Mapping[str, str]) -> list[str]:
    return sorted(_catalog("regions"))


def _catalog(name: str) -> dict[str, dict[str, object]]:
    with open(os.path.join(_PACKAGE, "instances", f"{name}.json"), encoding="utf-8") as file:
        content: dict[str, dict[str, object]] = json.load(file)[name]
    return content


def _folders(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != ".")
    return []


def _words(*words: str) -> Callable[[Mapping[str, str]], list[str]]:
    return lambda env: list(words)


_STATES = """
    preparing queued running succeeded failed stopped preempted orphaned elsewhere lost damaged unreachable
"""
KINDS: dict[str, Callable[[Mapping[str, str]], list[str]]] = {
    "RUN": runs,
    "JOB": jobs,
    "TRAINER": trainers,
    "TARGET": targets,
    "HOST": targets,
    "INSTANCE": instances,
    "CHECKPOINT": checkpoints,
    "TYPE": instance_types,
    "MODEL": gpu_models,
    "REGION": regions,
    "WHICH": _words("best", "last", "all"),
    "SPLIT": _words("train", "val", "test", "all"),
    "STATE": lambda env: _STATES.split(),
}
"""The word in the help → what it may be."""
