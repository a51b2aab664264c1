"""`gpujob notify`, and what a deploy demands of a job's alerts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator import settings_files
from orchestrator.commands import jobs, notify
from orchestrator.core.notify import EVENTS, Notify, parse
from orchestrator.errors import UsageError
from tests.rigs import webhook
from tests.support import Client, new_client


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def test_a_test_alert_is_sent_from_the_host_and_reported(client: Client) -> None:
    client.job("pass", notify={"webhook_env": "HOOK"})
    with webhook.listening() as hook:
        client.env["HOOK"] = f"{hook.url}\n"  # as `$(cat FILE)` in some shells
        assert client.run("notify", "job").out == "webhook: delivered from local\n"
        assert '"title": "gpujob test alert"' in hook.posts[0].body
        hook.statuses = [403]
        failed = client.run("notify", "job", "--json").json["error"]
    assert (failed["why"], failed["exit_code"]) == ("HTTP 403 Forbidden", 1)
    assert "curl -i" in failed["next_step"]
    assert "hush" not in str(failed)


def test_the_settings_alert_for_jobs_that_do_not_say(client: Client) -> None:
    client.write("gpujob.yaml", "notify:\n  webhook_env: HOOK\n  events: [failure]\n")
    client.job("pass")
    client.job("pass", name="own", notify={"command": ["true"]})
    client.job("pass", name="silent", notify={"events": []})
    ctx = client.context()
    settings = settings_files.load(ctx)
    found = {
        name: notify.with_settings(jobs.load(ctx, name, [], []), settings).spec.notify
        for name in ("job", "own", "silent")
    }
    assert found["job"] == Notify(webhook_env="HOOK", events=["failure"])
    assert found["own"] == Notify(command=["true"])
    assert found["silent"] is not None
    assert not found["silent"].is_on
    shown = client.run("config", "show", "--json").json["settings"]["notify"]
    assert shown["source"] == "gpujob.yaml"


def test_a_webhook_of_the_job_must_be_set_and_one_of_the_settings_warns(client: Client) -> None:
    client.job("pass", notify={"webhook_env": "HOOK"})
    result = client.run("deploy", "job")
    assert (result.code, "export HOOK=" in result.err) == (2, True)
    client.job("pass")
    client.env["GPUJOB_NOTIFY"] = "{webhook_env: HOOK}"
    ctx = client.context()
    job = notify.with_settings(jobs.load(ctx, "job", [], []), settings_files.load(ctx))
    assert notify.secrets(ctx, job.spec.notify) == {}
    assert "HOOK is not set" in ctx.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["hunter2", "ftp://hunter2", "https://", "https://x/hunter2\x1b[2J"])
def test_a_variable_that_holds_no_url_is_not_sent_and_not_shown(client: Client, value: str) -> None:
    client.env["HOOK"] = value
    with pytest.raises(UsageError) as refused:
        notify.secrets(client.context(), Notify(webhook_env="HOOK"))
    assert "hunter2" not in str(vars(refused.value))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("notify: https://hooks.slack.com/hunter2", "job.yaml:3: notify: expected"),
        ("notify: {webhook_env: https://hooks.slack.com/hunter2}", "must be the name of an environment"),
        ("notify: {url: https://hooks.slack.com/hunter2}", "notify.url"),
        ("notify: {events: [sucess], command: [x]}", "Invalid enum value"),
        ("notify: {events: [end]}", "neither webhook_env nor command"),
        ("notify: {command: ['']}", "the command is empty"),
    ],
)
def test_a_wrong_notify_is_refused_with_its_line_and_without_secrets(
    client: Client, text: str, expected: str
) -> None:
    client.write("job.yaml", f"name: job\ncommand: [x]\n{text}\n")
    result = client.run("deploy", "job.yaml", "--dry-run")
    assert (result.code, "job.yaml:3: " in result.err) == (2, True)
    assert expected.lower() in result.err.lower()
    assert "hunter2" not in result.err


def test_a_setting_that_is_wrong_names_its_source() -> None:
    assert parse("", "default") is None
    for text in ("HOOK", "{events: [x]}", "{url: x}", "{webhook_env: 'a b'}"):
        with pytest.raises(UsageError, match=r"^gpujob.yaml: notify"):
            parse(text, "gpujob.yaml")


def test_without_alerts_the_command_says_what_to_write(client: Client) -> None:
    client.job("pass")
    for words in (("notify",), ("notify", "job")):
        result = client.run(*words)
        assert (result.code, "webhook_env" in result.err) == (2, True)
    client.job("pass", notify={"command": ["true"]})
    assert "--on local" in client.run("notify", "job", "--on", "ec2").err


def test_the_plan_says_which_alerts_go_where(client: Client) -> None:
    client.job("pass", notify={"webhook_env": "HOOK", "format": "slack"})
    client.env["HOOK"] = "https://hooks.slack.com/services/hunter2"
    shown = client.run("deploy", "job", "--dry-run").out
    assert f"notify: {', '.join(EVENTS)} → the webhook in $HOOK (slack)" in " ".join(shown.split())
    assert "hunter2" not in shown
