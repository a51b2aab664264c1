"""Downloads data from S3 into `data/<name>/<fingerprint>`: only what is missing, each file verified.

The client has listed the objects: their paths, sizes and ETags are what this version of the data is. A
journal beside the folder names each verified file, with its ETag and time. By it an interrupted download
continues, and the next version links the files that did not change.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple, Sequence, TypedDict

from orchestrator.core.layout import Layout
from orchestrator.core.paths import inside
from orchestrator.onhost import files, s3_etags, s3_tool, uploads
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.s3_tool import Copy, Failure, Source

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_REPORT = 2.0  # seconds between two lines of progress
_THREADS = 4  # that hash files
_SPARE = 256 << 20  # bytes of the disk that a download leaves free
_JOURNAL = ".objects"


class Object(NamedTuple):
    path: str
    size: int
    etag: str


class Request(NamedTuple):
    """What to download. `sizes_only`: the ETags are no digests. `is_file`: the prefix is the object."""

    name: str
    fingerprint: str
    source: Source
    objects: Sequence[Object]
    sizes_only: bool = False
    is_file: bool = False
    secrets: Mapping[str, str] = {}

    @staticmethod
    def parse(request: Mapping[str, Any]) -> Request:
        objects = [Object(str(path), int(size), str(etag)) for path, size, etag in request["objects"]]
        if not all(inside(one.path) for one in objects):
            raise Refused("name", "an object would be written outside of the folder of the data")
        source = Source(**request["source"])
        flags = bool(request.get("sizes_only")), bool(request.get("is_file"))
        return Request(
            request["name"], request["fingerprint"], source, objects, *flags, request.get("secrets") or {}
        )


class Fetched(TypedDict):
    """Numbers of files. `by_size`: those that were verified by their size alone."""

    path: str
    downloaded: int
    linked: int
    by_size: int


def log_path(layout: Layout, name: str, fingerprint: str) -> str:
    """The file with the progress of a download."""
    return _sibling(uploads.data_folder(layout, name, fingerprint), ".log")


def fetch(layout: Layout, request: Request) -> Fetched:
    """Downloads what is missing. Raises Refused; repeated, it continues."""
    final = uploads.data_folder(layout, request.name, request.fingerprint)
    os.makedirs(os.path.dirname(final), mode=0o700, exist_ok=True)
    with files.lock(_sibling(final, ".lock")):
        if os.path.isdir(final):
            return {"path": final, "downloaded": 0, "linked": 0, "by_size": 0}
        with open(log_path(layout, request.name, request.fingerprint), "w", buffering=1) as log:
            download = _Download(final, request, lambda text: log.write(text + "\n"))
            try:
                fetched = download.run(layout)
            finally:
                download.close()
        os.rename(uploads.partial_folder(final), final)
        return fetched


class _Download:
    def __init__(self, final: str, request: Request, say: Callable[[str], Any]) -> None:
        self._final = final
        self._folder = uploads.partial_folder(final)
        self._request = request
        self._say = say
        self._objects = {one.path: one for one in request.objects}
        self._journal = Journal(_sibling(final, _JOURNAL))
        self._lock = threading.Lock()
        self._bytes = self._count = self._by_size = 0
        self._wrong: list[str] = []
        self._next_report = 0.0

    def run(self, layout: Layout) -> Fetched:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        self._remove_others()
        linked = self._link_unchanged()
        missing = self._missing()
        if missing:
            self._require_space(missing)
            self._download(s3_tool.ensure(layout), missing)
        if self._wrong:
            first = ", ".join(sorted(self._wrong)[:3])
            what = "%d files of data %s do not have the ETag that was listed: %s"
            why = "; they were changed meanwhile, or are encrypted with KMS while others are not"
            raise Refused("s3-changed", what % (len(self._wrong), self._request.name, first) + why)
        if any(not self._journal.has(one, self._path(one)) for one in self._request.objects):
            raise Refused("s3", "not all files of data %s could be verified" % self._request.name)
        return {
            "path": self._final,
            "downloaded": len(missing),
            "linked": linked,
            "by_size": self._by_size,
        }

    def close(self) -> None:
        self._journal.close()

    def _remove_others(self) -> None:
        """Deletes what is no file of this version: temporary files of a download that was killed."""
        for at, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(at, name)
                if os.path.relpath(path, self._folder) not in self._objects:
                    os.unlink(path)

    def _link_unchanged(self) -> int:
        """Links the files that an earlier version of this data has with the same ETag."""
        count, parent = 0, os.path.dirname(self._final)
        for name in sorted(os.listdir(parent)):
            before = os.path.join(parent, name)
            if name.startswith(".") or not os.path.isdir(before):
                continue
            known = Journal(_sibling(before, _JOURNAL))
            for one in self._request.objects:
                source, target = os.path.join(before, one.path), os.path.join(self._folder, one.path)
                if not os.path.lexists(target) and known.has(one, source):
                    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
                    with contextlib.suppress(OSError):
                        os.link(source, target)
                        self._journal.add(one, target)
                        count += 1
        return count

    def _missing(self) -> list[Object]:
        """Returns what is to be downloaded. What a killed download left is verified, not downloaded again."""
        unknown = [one for one in self._request.objects if not self._journal.has(one, self._path(one))]
        left = [one for one in unknown if os.path.lexists(self._path(one))]
        with _hashing_threads() as pool:
            list(pool.map(self._verify, left))
        self._wrong.clear()
        self._bytes = self._count = 0
        return [one for one in unknown if not os.path.lexists(self._path(one))]

    def _require_space(self, missing: Sequence[Object]) -> None:
        needed, free = sum(one.size for one in missing), shutil.disk_usage(self._folder).free
        if needed + _SPARE > free:
            words = (self._request.name, needed / 2**30, free / 2**30)
            raise Refused("no-room", "data %s needs %.1f GiB more on the host, %.1f GiB are free" % words)

    def _download(self, tool: str, missing: Sequence[Object]) -> None:
        total, by_path = sum(one.size for one in missing), {self._path(one): one for one in missing}
        failures: list[Failure] = []
        with _hashing_threads() as pool:

            def on_copied(copied: Copy) -> None:
                one = by_path.pop(copied.target, None)
                if one:
                    pool.submit(self._verify, one)
                self._report(len(missing), total)

            source, secrets = self._request.source, self._request.secrets
            if len(missing) == len(self._objects) and not self._request.is_file:
                s3_tool.copy_all(tool, source, self._folder, secrets, on_copied)
                self._remove_others()
            if by_path:
                failures = s3_tool.copy(tool, source, self._copies(by_path.values()), secrets, on_copied)
        if failures:
            words = (min(len(failures), len(missing)), len(missing), s3_tool.reason(failures))
            raise Refused("s3", "%d of %d objects could not be downloaded: %s" % words)
        self._say("%d files, %.1f MiB downloaded and verified" % (self._count, self._bytes / 2**20))

    def _copies(self, objects: Iterable[Object]) -> list[Copy]:
        source, copies = self._request.source, []
        folder = source.prefix.rstrip("/") + "/" if source.prefix else ""
        for one in objects:
            os.makedirs(os.path.dirname(self._path(one)), mode=0o700, exist_ok=True)
            key = source.prefix if self._request.is_file else folder + one.path
            copies.append(Copy("s3://%s/%s" % (source.bucket, key), self._path(one)))
        return copies

    def _verify(self, one: Object) -> None:
        """Records a file that is as listed; deletes any other."""
        path = self._path(one)
        is_right = s3_etags.matches(path, one.size, "" if self._request.sizes_only else one.etag)
        with self._lock:
            if is_right is False:
                os.unlink(path)
                self._wrong.append(one.path)
                return
            self._by_size += is_right is None
            self._bytes += one.size
            self._count += 1
            self._journal.add(one, path)

    def _report(self, count: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT
            words = (self._count, count, self._bytes / 2**20, total / 2**20)
            self._say("%d of %d files, %.1f of %.1f MiB" % words)

    def _path(self, one: Object) -> str:
        return os.path.join(self._folder, one.path)


class Journal:
    """The verified files of a version: a JSON line for each, of path, size, ETag and time in ns."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._handle: Any = None
        with contextlib.suppress(OSError), files.open_regular(path) as handle:
            for line in handle:
                with contextlib.suppress(ValueError, TypeError, IndexError):
                    entry = json.loads(line)
                    self._known[str(entry[0])] = entry[1:]

    def has(self, one: Object, path: str) -> bool:
        """Whether the file at `path` was verified as this object and is unchanged since then."""
        entry = self._known.get(one.path)
        if not entry or entry[:2] != [one.size, one.etag]:
            return False
        try:
            status = os.lstat(path)
        except OSError:
            return False
        return [status.st_size, status.st_mtime_ns] == [one.size, entry[2]]

    def add(self, one: Object, path: str) -> None:
        if self._handle is None:
            self._handle = open(self._path, "a", buffering=1)  # noqa: SIM115 - closed by close()
        entry = [*one, os.lstat(path).st_mtime_ns]
        self._handle.write(json.dumps(entry) + "\n")
        self._known[one.path] = entry[1:]

    def close(self) -> None:
        if self._handle:
            self._handle.close()


def _sibling(final: str, suffix: str) -> str:
    return os.path.join(os.path.dirname(final), "." + os.path.basename(final) + suffix)


def _hashing_threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - a tenth of a helper's start

    return ThreadPoolExecutor(_THREADS)
