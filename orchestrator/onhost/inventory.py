"""Lists the files that a run wrote, whatever their format, and which of them no client has fetched."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterator, Mapping, Sequence, TypedDict

from orchestrator.core.jsontext import Object
from orchestrator.core.layout import Layout, RunPaths
from orchestrator.core.paths import is_step
from orchestrator.onhost import files, run_facts
from orchestrator.onhost.records import RunSpec

POINTERS = ("last", "best")
_RECORDS = ("run.json", "state.json", "log", "events.jsonl")
_OWN = ("secrets.json", "start.lock", "alive.lock", "reserved-space", "ballast", "mirror.lock")
_NAMED = 10  # number of unfetched files that are named, the largest first
Versions = Mapping[str, "list[int]"]  # path in the fetched folder → [bytes, mtime in microseconds]


class Unfetched(TypedDict):
    """What no client has fetched as it is now; the `largest` by path."""

    files: int
    bytes: int
    largest: list[str]


class FileCount(TypedDict):
    files: int
    bytes: int
    unfetched: Unfetched


class Written(TypedDict):
    checkpoints: FileCount
    outputs: FileCount
    others: FileCount


class RunOutputs:
    """The files that a run wrote: below `checkpoints`, its declared outputs, and others below `work`."""

    def __init__(self, layout: Layout, run_id: str) -> None:
        self.paths = layout.run(run_id)
        spec = RunSpec.load(self.paths.run_json)
        self.names = spec.outputs if spec else []
        self.work = os.path.realpath(self.paths.work)
        self._code = layout.tree(spec.code_tree) if spec and spec.code_tree else ""

    def sources(self, which: str) -> Iterator[tuple[str, str]]:
        """Yields (path on this host, path in the fetched folder) of every file that a fetch downloads.

        `which` checkpoints: best, last, or all, with the other files below `work` too.

        `path:PATH`: the file or folder PATH of the run's folder alone.
        """
        if which.startswith("path:"):
            yield from self._at(which[len("path:") :])
            return
        for name in _RECORDS:
            yield os.path.join(self.paths.folder, name), name
        yield from self.checkpoints(which)
        yield from self.declared()
        if which == "all":
            yield from self.others()

    def _at(self, path: str) -> Iterator[tuple[str, str]]:
        """Yields the files below a path of the run that are in the run; not those that gpujob hides."""
        run = os.path.realpath(self.paths.folder)
        start = os.path.normpath(os.path.join(run, path))
        if not (is_inside(run, start) and os.path.lexists(start)):
            return
        for source, relative in _files_below(start, os.path.relpath(start, run)):
            relative = os.path.normpath(relative)
            is_own = relative.startswith((".fetch/", ".copies/")) or relative in _OWN
            if is_inside(run, os.path.realpath(source)) and not is_own:
                yield source, relative

    def declared(self) -> Iterator[tuple[str, str]]:
        """Yields the files of the outputs that the job declares."""
        for name in self.names:
            path = self.output(name)
            if is_inside(self.work, path) and (os.path.exists(path) or is_denied(path)):
                yield from _files_below(path, "outputs/" + name.strip("/"))

    def checkpoints(self, which: str) -> Iterator[tuple[str, str]]:
        folder = self.paths.checkpoints
        try:
            names = os.listdir(folder)
        except PermissionError:
            yield folder, "checkpoints"
            return
        except OSError:
            return
        steps = self._steps(names, which)
        for name in [*steps, *own_names(folder, names)]:
            yield from _files_below(os.path.join(folder, name), "checkpoints/" + name)
        for name in POINTERS:
            if run_facts.pointer(folder, name) in steps:
                yield os.path.join(folder, name), "checkpoints/" + name

    def others(self) -> Iterator[tuple[str, str]]:
        """Yields files below `work` that are no output and not as they were sent.

        Links and Python's own caches are left out.
        """
        outputs = [self.output(name) for name in self.names]
        for path in _walk(self.work, without=["__pycache__"]):
            relative = os.path.relpath(path, self.work)
            is_output = any(is_inside(output, path) for output in outputs)
            if not is_output and _is_changed(path, os.path.join(self._code, relative)):
                yield path, os.path.normpath("work/" + relative)  # `work` itself may be no folder

    def output_path(self, name: str) -> str:
        return os.path.join(self.work, name)

    def output(self, name: str) -> str:
        return os.path.realpath(self.output_path(name))

    def _steps(self, names: list[str], which: str) -> list[str]:
        if which == "all":
            return sorted((name for name in names if is_step(name)), key=int)
        step = run_facts.pointer(self.paths.checkpoints, which)
        return [step] if step else []


def own_names(folder: str, names: Sequence[str]) -> list[str]:
    """Returns which `names` of a checkpoint folder a program gave: neither steps nor pointers to one of them.

    A program's own `best` or `last` may be a folder, a link or weights.
    """
    pointers = [name for name in POINTERS if run_facts.pointer(folder, name) in names]
    return sorted(name for name in names if not (is_step(name) or name.startswith(".") or name in pointers))


def written(layout: Layout, run_id: str) -> Written:
    """Returns number and bytes of the files that the run wrote."""
    outputs, fetched = RunOutputs(layout, run_id), _load_fetched(layout.run(run_id))
    return {
        "checkpoints": _count(list(outputs.checkpoints("all")), fetched),
        "outputs": _count(list(outputs.declared()), fetched),
        "others": _count(list(outputs.others()), fetched),
    }


def version(path: str) -> list[int]:
    """Returns size and modification time of a file, by which a later one at its path is told apart."""
    about = os.stat(path)
    return [about.st_size, about.st_mtime_ns // 1000]


def record_fetched(paths: RunPaths, versions: Versions) -> None:
    """Records that a client has verified its copies of these files; nothing on a full disk."""
    with contextlib.suppress(OSError):
        files.write_json(paths.fetched, {"v": 1, "files": {**_load_fetched(paths), **versions}})


def _load_fetched(paths: RunPaths) -> Versions:
    return versions((files.load(paths.fetched) or Object()).child("files"))


def versions(record: Object) -> Versions:
    return {path: version for path in record.values if (version := record.get(path, list))}


def _count(group: list[tuple[str, str]], fetched: Versions) -> FileCount:
    sizes, unfetched = [], {}
    for path, relative in group:
        try:
            about = os.lstat(path)
        except PermissionError:  # of its folder
            sizes.append(0)
            unfetched[relative] = 0
            continue
        except OSError:
            continue
        sizes.append(_bytes(about))
        with contextlib.suppress(OSError):
            if stat.S_ISLNK(about.st_mode):
                about = os.stat(path)
            if fetched.get(relative) != [about.st_size, about.st_mtime_ns // 1000]:
                unfetched[relative] = _bytes(about)
    largest = sorted(unfetched.items(), key=lambda item: -item[1])[:_NAMED]
    left: Unfetched = {
        "files": len(unfetched),
        "bytes": sum(unfetched.values()),
        "largest": [name for name, _ in largest],
    }
    return {"files": len(sizes), "bytes": sum(sizes), "unfetched": left}


def _bytes(about: os.stat_result) -> int:
    return 0 if stat.S_ISDIR(about.st_mode) else about.st_size


def _is_changed(path: str, original: str) -> bool:
    """Returns whether a regular file of the run's working copy is not the one that was sent.

    True for a folder, whose files are not known.
    """
    with contextlib.suppress(OSError):
        now = os.lstat(path)
        if not stat.S_ISREG(now.st_mode):
            return stat.S_ISDIR(now.st_mode)
        before = os.lstat(original)
        return (now.st_size, now.st_mtime_ns // 10**9) != (before.st_size, before.st_mtime_ns // 10**9)
    return True


def _files_below(path: str, relative: str) -> Iterator[tuple[str, str]]:
    """Yields path and relative path of a file, or of all files below a folder, not below linked ones."""
    if os.path.islink(path) or not os.path.isdir(path):
        yield path, relative
        return
    for file in sorted(_walk(path)):
        yield file, os.path.normpath(os.path.join(relative, os.path.relpath(file, path)))


def _walk(top: str, without: Sequence[str] = ()) -> Iterator[str]:
    """Yields every file and link below a folder, and the folders that cannot be listed.

    `without`: names of folders that are passed over.
    """
    closed: list[OSError] = []
    for folder, subfolders, names in os.walk(top, onerror=closed.append):
        subfolders[:] = [name for name in subfolders if name not in without]
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        for name in names + links:
            yield os.path.join(folder, name)
    yield from (error.filename for error in closed if not isinstance(error, FileNotFoundError))


def is_denied(path: str) -> bool:
    """Returns whether this user may not list a folder, or reach a file: whether it exists is not known."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.scandir(path).close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def is_inside(base: str, path: str) -> bool:
    return path == base or path.startswith(base + os.sep)
