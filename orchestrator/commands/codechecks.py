"""Whether what a job's command runs is in the code that is sent, and which packages that code imports."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.commands.jobs import Job
from orchestrator.core import command
from orchestrator.core.command import Program
from orchestrator.core.commandchecks import FRAMEWORKS
from orchestrator.core.text import closest
from orchestrator.errors import UsageError
from orchestrator.onhost.folders import Tree
from orchestrator.source import Source

_FILES_READ = 200  # of the code, to find what it imports
_LARGEST_READ = 1 << 20


def require(job: Job, source: Source, is_local: bool) -> tuple[str, ...]:
    """Notes on the command's other words. UsageError where its script or module is not in the code."""
    words = job.spec.command or []
    code = _Code(job, source)
    program = command.program(words)
    _require_words(job, words[0])
    if program.script:
        _require_script(code, program, is_local)
    elif program.module:
        _require_module(code, program.module)
    written = [posixpath.normpath(path) for path in job.spec.outputs]
    absent = sorted({path for path in command.other_paths(words) if code.is_left_behind(path, written)})
    where = job.file.where("command")
    return tuple(f"{where}: {path} is not sent (git ignores it): name it under data:" for path in absent)


def frameworks(job: Job, source: Source) -> tuple[str, ...]:
    """Known packages that the job's program imports, itself or through modules of the code."""
    code, program = _Code(job, source), command.program(job.spec.command or [""])
    start = code.relative(program.script) if program.script else code.module(program.module)
    packages, pending, read_files = set[str](), [start] if start else [], set[str]()
    while pending and len(read_files) < _FILES_READ:
        path = pending.pop()
        if path in read_files or not path.endswith(".py"):
            continue
        read_files.add(path)
        for name in code.imports(path):
            if local := code.module(name, posixpath.dirname(path)):
                pending.append(local)
            elif (top := name.partition(".")[0]) in FRAMEWORKS:
                packages.add(top)
    return tuple(sorted(packages))


class _Code:
    """The files of the code by their paths, and the folder that they come from."""

    def __init__(self, job: Job, source: Source) -> None:
        self.job = job
        self.folder = source.folder
        self.tree: Tree = source.tree
        self.kinds = {entry.path: entry.kind for entry in source.tree.entries}

    def relative(self, path: str) -> str | None:
        """A path of the command relative to the code; None where it leads out of it."""
        inside = posixpath.normpath(path)
        return None if posixpath.isabs(inside) or inside.split("/")[0] == ".." else inside

    def has(self, path: str) -> bool:
        """Whether a file, or a folder with files, is sent; a path through a link may be."""
        parts = path.split("/")
        through = ("/".join(parts[:end]) for end in range(1, len(parts)))
        if path == "." or path in self.kinds or any(self.kinds.get(part) == "link" for part in through):
            return True
        return any(known.startswith(f"{path}/") for known in self.kinds)

    def is_left_behind(self, word: str, written: Sequence[str]) -> bool:
        """Whether a word names something here that is not sent, and that the run does not write itself."""
        path = self.relative(word)
        if path is None or not _exists(self.folder / path) or self.has(path):
            return False
        return not any(f"{path}/".startswith(f"{output}/") for output in written)

    def module(self, name: str, folder: str = "") -> str | None:
        """The file of a module, from the top of the code or in `folder`, that of an importing file."""
        path = name.strip(".").replace(".", "/")
        for base in (folder, ""):
            for end in (".py", "/__main__.py", "/__init__.py"):
                file = posixpath.join(base, path + end)
                if path and file in self.kinds:
                    return file
        return None

    def imports(self, path: str) -> Iterator[str]:
        try:
            with (self.folder / path).open("rb") as file:
                return command.imports(file.read(_LARGEST_READ).decode("utf-8", "replace"))
        except OSError:
            return iter(())


def _require_words(job: Job, first: str) -> None:
    """UsageError for a whole command in one word, which no program has as its name."""
    words = first.split()
    if len(words) > 1 and (command.is_python(words[0]) or command.program(words) != Program()):
        where, right = job.file.where("command"), ", ".join(words)
        raise UsageError(f"{where}: {first!r} is one word", "each word is an item", f"command: [{right}]")


def _require_script(code: _Code, program: Program, is_local: bool) -> None:
    script, where = program.script, code.job.file.where("command")
    if script.startswith("~") or "$" in script:
        why = "the command is not passed to a shell, which would replace it"
        raise UsageError(f"{where}: there is no file {script}", why, f'command: [bash, -c, "... {script}"]')
    if posixpath.isabs(script):
        inside = os.path.relpath(script, code.folder)
        if not is_local and not inside.startswith("..") and _exists(Path(script)):
            why = "the code has another folder on the host, which is the working folder there"
            raise UsageError(f"{where}: {script} is a path of this machine", why, f"write {inside} instead")
        return
    path = code.relative(script)
    if path is None or not code.has(path):
        raise _absent(code, script, path)
    if program.direct and code.kinds.get(path) in ("file", "exec"):
        _require_executable(code, path, f"{where}: {script}")


def _require_executable(code: _Code, path: str, what: str) -> None:
    """UsageError where the host's kernel would not start the file."""
    why, file = "the command starts it directly", code.folder / path
    if code.kinds[path] == "file":
        raise UsageError(f"{what} is not executable", why, f"chmod +x {file}")
    with file.open("rb") as opened:
        first = opened.readline(256)
    if first.startswith(b"#!") and first.endswith(b"\r\n"):
        raise UsageError(
            f"{what} has the line ends of Windows",
            f"its interpreter ends with \\r; {why}",
            f"dos2unix {file}",
        )
    if not first.startswith((b"#!", b"\x7fELF")):
        raise UsageError(
            f"{what} has no interpreter", why, "begin it with #!/bin/bash, or name bash in the command"
        )


def _require_module(code: _Code, name: str) -> None:
    """A module that is not in the code at all may be installed on the host."""
    path = name.replace(".", "/")
    if code.module(name):
        return
    in_code = code.has(path.partition("/")[0])
    files = (f"{path}.py", f"{path}/__init__.py", f"{path}/__main__.py")
    here = any(_exists(code.folder / file) for file in files)
    if here or in_code:
        raise _absent(code, f"{path}.py", f"{path}.py")


def _absent(code: _Code, script: str, path: str | None) -> UsageError:
    where, folder = code.job.file.where("command"), code.folder
    if path is None:
        return UsageError(f"{where}: {script} is outside of the code folder {folder}", "", "code: FOLDER")
    if _exists(folder / path):
        why, fix = "git ignores it, or the job excludes it", f"add !/{path} to {folder / '.gitignore'}"
        return UsageError(f"{where}: {script} is not sent to the host", why, fix)
    name, suffix = posixpath.basename(path), posixpath.splitext(path)[1]
    alike = [known for known in code.kinds if posixpath.splitext(known)[1] == suffix]
    close = next((known for known in alike if posixpath.basename(known) == name), None)
    close = close or closest(path, alike)
    why = f"did you mean {close}?" if close else "paths in the command are relative to the code folder"
    fix = f"write {close} in {where}" if close else f"create {folder / path}, or correct {where}"
    return UsageError(f"{where}: there is no {script} in {folder}", why, fix)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a word too long for a path, or with a NUL
        return False
