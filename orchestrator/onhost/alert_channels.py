"""Sends one alert over one channel, a webhook or a command, within a time limit.

The URL of a webhook is a secret: no error contains it, nor a text of the server, which may repeat it.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from email.utils import parsedate_to_datetime
from typing import Any, Mapping, NamedTuple, Sequence

from orchestrator.onhost.alerts import Alert

HTTP_SECONDS = 10.0
COMMAND_SECONDS = 30.0
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
_LONGEST_WAIT = 300.0  # seconds
_LONGEST = 1900  # characters; Discord refuses more than 2000


class Outcome(NamedTuple):
    """`error`: None where the alert was delivered. `is_final`: the server refuses it, so a retry is of little
    use. `wait`: seconds that the server asks for before a retry."""

    error: str | None = None
    is_final: bool = False
    wait: float = 0.0


class Webhook(NamedTuple):
    """`format`: slack, discord, ntfy, json, or auto for the one that the URL's host takes."""

    url: str
    format: str
    run: str
    seconds: float = HTTP_SECONDS

    def send(self, alert: Alert) -> Outcome:
        """Sends an alert; the whole exchange takes at most `seconds`."""
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(self._send(alert)), daemon=True)
        thread.start()
        thread.join(self.seconds)
        return outcomes[0] if outcomes else Outcome(_too_slow(self.seconds))

    def _send(self, alert: Alert) -> Outcome:
        try:
            opener = urllib.request.build_opener(_NoRedirect, _Https)
            with opener.open(self._request(alert), timeout=self.seconds):
                return Outcome()
        except urllib.error.HTTPError as error:
            with error:
                reason = http.client.responses.get(error.code, "")
                final = 300 <= error.code < 500 and error.code not in (408, 425, 429)
                return Outcome(("HTTP %d %s" % (error.code, reason)).strip(), final, _wait(error.headers))
        except Exception as error:  # whatever a server or a network does ends no more than this attempt
            return Outcome(_reason(error, self.seconds))

    def _request(self, alert: Alert) -> urllib.request.Request:
        url, credentials = _split(self.url)
        body, headers = _content(_format(url) if self.format == "auto" else self.format, alert, self.run)
        headers["User-Agent"] = "gpujob"
        headers["Idempotency-Key"] = "%s/%s" % (self.run, urllib.parse.quote(alert.key))
        if credentials:
            headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()
        return urllib.request.Request(url, body, headers, method="POST")


class Command(NamedTuple):
    """A command on the host; it gets the alert in variables and as JSON on stdin."""

    words: Sequence[str]
    env: Mapping[str, str]
    run: str
    folder: str = "/"
    seconds: float = COMMAND_SECONDS

    def send(self, alert: Alert) -> Outcome:
        """Runs the command; what still runs after `seconds` is killed."""
        variables = {
            "GPUJOB_ALERT_EVENT": alert.event,
            "GPUJOB_ALERT_TITLE": alert.title,
            "GPUJOB_ALERT_MESSAGE": alert.message,
            "GPUJOB_RUN_ID": self.run,
        }
        try:
            process = subprocess.Popen(
                list(self.words),
                env={**self.env, **variables},
                cwd=self.folder if os.path.isdir(self.folder) else "/",
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return Outcome(getattr(error, "strerror", None) or type(error).__name__)
        try:
            process.communicate(json.dumps(_object(alert, self.run)).encode(), self.seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Outcome("it ran longer than %g s" % self.seconds)
        return Outcome("exit code %d" % process.returncode if process.returncode else None)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a login page that answers 200 has delivered nothing."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Https(urllib.request.HTTPSHandler):
    """Reads the certificates once it connects: 50 ms, which a server without TLS does not need."""

    def __init__(self) -> None:
        urllib.request.AbstractHTTPHandler.__init__(self)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(http.client.HTTPSConnection, req, context=_context())


def _context() -> ssl.SSLContext:
    """Verifies servers; a Python of its own, as conda's, may not know where the system's certificates are."""
    context = ssl.create_default_context()
    for path in () if context.cert_store_stats()["x509_ca"] else _CERTIFICATES:
        if os.path.exists(path):
            context.load_verify_locations(path)
            break
    return context


def _split(url: str) -> tuple[str, str]:
    """Returns the URL without user and password, and `user:password`. ValueError for no web address."""
    parts = urllib.parse.urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) URL")
    user, _, address = parts.netloc.rpartition("@")
    return urllib.parse.urlunsplit(parts._replace(netloc=address)), urllib.parse.unquote(user)


def _format(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if host == "hooks.slack.com" or (host.startswith("discord") and parts.path.endswith("/slack")):
        return "slack"
    if host in ("discord.com", "discordapp.com") or host.endswith((".discord.com", ".discordapp.com")):
        return "discord"
    return "ntfy" if host == "ntfy.sh" or host.startswith("ntfy.") else "json"


def _content(kind: str, alert: Alert, run: str) -> tuple[bytes, dict[str, str]]:
    """Returns the body of a request and its headers. No text of a run can mention or notify a channel."""
    text = ("%s\n%s" % (alert.title, alert.message))[:_LONGEST]
    if kind == "ntfy":
        is_bad = alert.event in ("failure", "health", "preemption")
        tag = "warning" if is_bad else "white_check_mark" if alert.is_end else "information_source"
        title = alert.title.encode("ascii", "replace").decode()
        return alert.message.encode(), {"Title": title, "Tags": tag, "Priority": "4" if is_bad else "3"}
    if kind == "slack":
        for letter, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(letter, entity)
        value: Mapping[str, object] = {"text": text}
    elif kind == "discord":
        value = {"content": text, "allowed_mentions": {"parse": []}}
    else:
        value = _object(alert, run)
    return json.dumps(value).encode(), {"Content-Type": "application/json"}


def _object(alert: Alert, run: str) -> Mapping[str, object]:
    return {
        "v": 1,
        "run": run,
        "event": alert.event,
        "key": alert.key,
        "title": alert.title,
        "message": alert.message,
        "text": "%s\n%s" % (alert.title, alert.message),
    }


def _wait(headers: Any) -> float:
    """Seconds that a server asks for, in numbers or as a date; at most 5 minutes."""
    text = str(headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,5}(?:\.[0-9]{1,6})?", text):
        return min(float(text), _LONGEST_WAIT)
    try:
        return min(max(0.0, parsedate_to_datetime(text).timestamp() - time.time()), _LONGEST_WAIT)
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0.0


def _too_slow(seconds: float) -> str:
    return "no answer within %g s" % seconds


def _reason(error: object, seconds: float) -> str:
    """Returns why an attempt failed, in words that contain nothing of the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.timeout):
        return _too_slow(seconds)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "the certificate is not valid: %s" % cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return "TLS failed: %s" % cause.reason
    if isinstance(cause, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    if isinstance(cause, ValueError) and not isinstance(cause, http.client.InvalidURL):
        return "the variable does not hold an http(s) URL"
    return type(cause).__name__
