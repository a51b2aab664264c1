"""The command of a job → the program that it starts: a file of the code, a module, or a command. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_PYTHON = re.compile(r"(?:python|pypy)\d*(?:\.\d+)?\Z")
_SHELLS = ("bash", "dash", "ksh", "sh", "zsh")
# Words that start the command after them, and those that start a Python file with the environment's Python.
_WRAPPERS = (
    "conda env ionice mpiexec mpirun ncu nice nohup nsys numactl pipenv poetry setsid srun stdbuf sudo "
    "taskset time timeout unbuffer uv xvfb-run"
)
_LAUNCHERS = "accelerate composer deepspeed horovodrun streamlit torchrun"
_LAUNCHER_MODULES = (
    "accelerate.commands.launch cProfile coverage debugpy deepspeed.launcher.runner ipdb pdb trace "
    "torch.distributed.launch torch.distributed.run torch.utils.bottleneck"
)
_PYTHON_OPTIONS = "XW"  # with a value in the next word
_SHELL_OPTIONS = ("o", "O")


class Program(NamedTuple):
    """`script`: a path in the command. `module`: what `python -m` runs. `direct`: the script
    is executed itself.

    All are empty for a command that is found on the host's PATH, and where the command is too involved.
    """

    script: str = ""
    module: str = ""
    direct: bool = False


def program(words: Sequence[str]) -> Program:
    """What a command runs: also behind wrappers such as `env`, and launchers such as `torchrun`."""
    name = posixpath.basename(words[0])
    if name in _WRAPPERS.split():
        rest = next((words[at:] for at, word in enumerate(words[1:], 1) if _is_starter(word)), None)
        return program(rest) if rest else Program()
    if is_python(name):
        return _of_python(words[1:])
    if name in _SHELLS:
        return Program(script=_script_of_shell(words[1:]))
    if name in _LAUNCHERS.split():
        return Program(script=_python_file(words[1:]))
    return Program(script=words[0], direct=True) if "/" in words[0] else Program()


def is_python(word: str) -> bool:
    """Whether a word names an interpreter: python, python3.11, /opt/venv/bin/python."""
    return bool(_PYTHON.match(posixpath.basename(word)))


def other_paths(words: Sequence[str]) -> Iterator[str]:
    """Words, and values of `--option=value`, that may be relative paths."""
    for word in words[1:]:
        value = word.partition("=")[2] if word.startswith("-") else word
        if value and not value.startswith(("/", "~", "-")) and "://" not in value:
            yield value


def _is_starter(word: str) -> bool:
    name = posixpath.basename(word)
    return is_python(name) or name in _SHELLS or name in _LAUNCHERS.split()


def _of_python(words: Sequence[str]) -> Program:
    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-") or word == "-":
            return Program(script="" if word == "-" else word)
        at += 1 + (word == "--check-hash-based-pycs")
        for index, letter in enumerate("" if word.startswith("--") else word[1:], 2):
            if letter == "m":
                return _of_module(word[index:] or "".join(words[at : at + 1]), words[at:])
            if letter == "c":
                return Program()
            if letter in _PYTHON_OPTIONS:
                at += not word[index:]
                break
    return Program()


def _of_module(module: str, rest: Sequence[str]) -> Program:
    is_launcher = module in _LAUNCHER_MODULES.split()
    return Program(script=_python_file(rest)) if is_launcher else Program(module=module)


def _script_of_shell(words: Sequence[str]) -> str:
    """Empty for commands in a word (`-c`) or on stdin (`-s`)."""
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif not word.startswith(("-", "+")):
            return word
        elif not word.startswith("--") and set(word[1:]) & set("cs"):
            return ""
        else:
            is_value = word[1:] in _SHELL_OPTIONS
    return ""


def _python_file(words: Sequence[str]) -> str:
    return next((word for word in words if word.endswith(".py") and not word.startswith("-")), "")


_IMPORT = re.compile(r"^(?:from\s+(\.*[\w.]*)\s+import|import\s+(.+))", re.MULTILINE)


def imports(source: str) -> Iterator[str]:
    """Modules that a Python file imports at its top level. Imports in functions and `try` may be optional."""
    for match in _IMPORT.finditer(source):
        if match[1]:
            yield match[1]
        for name in (match[2] or "").partition("#")[0].split(","):
            if words := name.split():
                yield words[0]
