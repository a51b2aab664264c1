"""Alerts over a web server on loopback and over commands: what is sent, how failures are described."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.onhost import alert_channels
from orchestrator.onhost.alert_channels import Command, Webhook
from orchestrator.onhost.alerts import Alert
from tests.rigs import webhook

RUN = "job-20261121T101112-1a2b"
ALERT = Alert("end/1", "failure", "job failed: exit code 1", "run <!channel> & @everyone\nnext", True)


@pytest.fixture
def hook() -> Iterator[webhook.Webhook]:
    with webhook.listening() as hook:
        yield hook


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("slack", {"text": "job failed: exit code 1\nrun &lt;!channel&gt; &amp; @everyone\nnext"}),
        (
            "discord",
            {
                "content": "job failed: exit code 1\nrun <!channel> & @everyone\nnext",
                "allowed_mentions": {"parse": []},
            },
        ),
        (
            "auto",  # an address that is not known
            {
                "v": 1,
                "run": RUN,
                "event": "failure",
                "key": "end/1",
                "title": ALERT.title,
                "message": ALERT.message,
                "text": f"{ALERT.title}\n{ALERT.message}",
            },
        ),
    ],
)
def test_a_service_gets_the_shape_it_takes_and_no_mention(
    hook: webhook.Webhook, format: str, expected: dict[str, object]
) -> None:
    assert Webhook(hook.url, format, RUN).send(ALERT).error is None
    [post] = hook.posts
    assert (post.path, json.loads(post.body)) == ("/services/hush-hush", expected)
    assert post.headers["Idempotency-Key"] == f"{RUN}/end/1"


def test_ntfy_gets_a_text_a_title_and_the_credentials_of_the_url(hook: webhook.Webhook) -> None:
    url = hook.url.replace("http://", "http://:tk_abc@")
    assert Webhook(url, "ntfy", RUN).send(ALERT).error is None
    [post] = hook.posts
    assert (post.body, post.headers["Title"], post.headers["Priority"]) == (ALERT.message, ALERT.title, "4")
    assert post.headers["Authorization"] == "Basic OnRrX2FiYw=="


@pytest.mark.parametrize(
    ("url", "format"),
    [
        ("https://hooks.slack.com/services/T/B/x", "slack"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://discord.com/api/webhooks/1/x/slack", "slack"),
        ("https://ntfy.sh/topic", "ntfy"),
        ("https://ntfy.example.org/topic", "ntfy"),
        ("https://hooks.slack.com.evil.example/x", "json"),
        ("https://chat.example.org/hooks/x", "json"),
    ],
)
def test_the_format_follows_from_the_address(url: str, format: str) -> None:
    assert alert_channels._format(url) == format


@pytest.mark.parametrize(
    ("status", "error", "is_final"),
    [
        (500, "HTTP 500 Internal Server Error", False),
        (429, "HTTP 429 Too Many Requests", False),
        (404, "HTTP 404 Not Found", True),
        (302, "HTTP 302 Found", True),
        (307, "HTTP 307 Temporary Redirect", True),
    ],
)
def test_an_answer_that_is_no_success_is_an_error(
    hook: webhook.Webhook, status: int, error: str, is_final: bool
) -> None:
    hook.statuses = [status]
    assert Webhook(hook.url, "slack", RUN).send(ALERT)[:2] == (error, is_final)
    assert len(hook.posts) == 1  # a redirect is not followed: a login page is no delivery


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("7", 7, 7),
        ("0.5", 0.5, 0.5),
        ("99999", 300, 300),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 300, 300),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("\u0663", 0, 0),
        ("9" * 400, 0, 0),
    ],
)
def test_a_server_says_when_it_is_asked_again(retry_after: str, least: float, most: float) -> None:
    assert least <= alert_channels._wait({"Retry-After": retry_after}) <= most


def test_a_server_that_hangs_takes_the_time_limit_and_no_more(hook: webhook.Webhook) -> None:
    hook.hangs = True
    assert Webhook(hook.url, "slack", RUN, seconds=0.2).send(ALERT).error == "no answer within 0.2 s"


def test_a_server_that_is_gone_is_described_by_the_system() -> None:
    with webhook.refusing() as url:
        assert Webhook(url, "slack", RUN).send(ALERT).error == "Connection refused"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/hush-hush",
        "http://127.0.0.1:99999/hush-hush",
        "http://127.0.0.1:1/hush\x00hush",
        "http://127.0.0.1:1/hush hush",
        "http://[hush-hush",
        "http://\u2028hush-hush:x",
        "file:///etc/hush-hush",
        "hush-hush",
        "",
    ],
)
def test_no_error_contains_anything_of_the_url(url: str) -> None:
    error = Webhook(url, "auto", RUN, seconds=5).send(ALERT).error
    assert error
    assert "hush" not in error


def test_a_command_gets_the_alert_in_variables_and_on_stdin(tmp_path: Path) -> None:
    body = "import os, sys; open('said', 'w').write(os.environ['GPUJOB_ALERT_TITLE'] + sys.stdin.read())"
    words = [sys.executable, "-c", body]
    assert Command(words, {"PATH": "/bin"}, RUN, str(tmp_path)).send(ALERT).error is None
    said = (tmp_path / "said").read_text()
    assert said.startswith(ALERT.title)
    assert json.loads(said[len(ALERT.title) :])["event"] == "failure"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["/no/such/program"], "No such file or directory"),
        ([sys.executable, "-c", "raise SystemExit(3)"], "exit code 3"),
        (["sh", "-c", "sleep 600 & sleep 600"], "it ran longer than 0.2 s"),
    ],
)
def test_a_command_that_fails_or_hangs_is_an_error(words: list[str], error: str) -> None:
    seconds = 0.2 if words[0] == "sh" else 30.0
    assert Command(words, {"PATH": "/usr/bin:/bin"}, RUN, seconds=seconds).send(ALERT).error == error
