"""`gpujob notify [JOB]`: sends a test alert from a host; and what a deploy needs to know of alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator import registry, settings_files
from orchestrator.commands import jobs
from orchestrator.context import Context
from orchestrator.core.notify import Notify, parse
from orchestrator.errors import GpujobError, UsageError
from orchestrator.settings_files import Setting
from orchestrator.targets import helper
from orchestrator.view import answers

if TYPE_CHECKING:
    from orchestrator.commands.jobs import Job


def notify(ctx: Context, word: str | None, on: str | None) -> int:
    """Sends a test alert over each channel of the job, or of the settings, once. GpujobError if one fails."""
    settings = settings_files.load(ctx)
    alerts = _load(ctx, word, settings)
    target = registry.target(ctx, settings, on)
    if target.launches:
        why = "a run's own instance does not exist yet"
        raise UsageError(
            "a test alert needs a host", why, f"gpujob notify {word or ''} --on local".replace("  ", " ")
        )
    passed = secrets(ctx, alerts, is_required=True)
    with target.connect() as host:
        errors = helper.test_alert(host, alerts, passed)
        label = host.label
    for channel, error in errors.items():
        if error is not None:
            raise _undelivered(alerts, channel, error, label)
    if ctx.json:
        ctx.answer(answers.Notify(target=label, channels=tuple(errors)))
        return 0
    for channel in errors:
        ctx.out(f"{channel}: delivered from {label}")
    return 0


def with_settings(job: Job, settings: Mapping[str, Setting]) -> Job:
    """The job with the alerts of the settings, unless it says where its own go."""
    setting = settings["notify"]
    default = parse(setting.value, setting.source) if job.spec.notify is None else None
    return job if default is None else job.with_spec(notify=default)


def secrets(ctx: Context, alerts: Notify | None, is_required: bool = False) -> dict[str, str]:
    """The URL of the webhook by its variable; nothing, with a warning, where it is not set.

    UsageError for a value that is no URL: another secret would be sent to the host by mistake.
    """
    if alerts is None or not alerts.is_on or alerts.webhook_env is None:
        return {}
    name = alerts.webhook_env
    url = ctx.env.get(name, "").strip()
    if not url:
        what = f"notify.webhook_env: {name} is not set"
        if is_required:
            raise UsageError(what, "", f"export {name}=…")
        ctx.warn(f"warning: {what}, so no alert of this run is sent over the webhook")
        return {}
    if not _is_url(url):
        why = "its value is not the http(s) URL of a webhook"
        raise UsageError(f"notify.webhook_env: {name} cannot be used", why, f"export {name}=https://…")
    return {name: url}


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isprintable()
    except ValueError:
        return False


def _load(ctx: Context, word: str | None, settings: Mapping[str, Setting]) -> Notify:
    setting = settings["notify"]
    job = jobs.load(ctx, word, [], []) if word else None
    alerts = (job.spec.notify if job else None) or parse(setting.value, setting.source)
    if alerts is None or not alerts.is_on:
        where = word or "the settings"
        step = "add to it: notify: {webhook_env: SLACK_WEBHOOK_URL}"
        raise UsageError(f"no alerts are configured in {where}", "", step)
    return alerts


def _undelivered(alerts: Notify, channel: str, error: str, label: str) -> GpujobError:
    if channel == "webhook":
        step = f"""curl -i -d '{{"text": "test"}}' "${alerts.webhook_env}" shows what the server answers"""
    else:
        step = f"on {label}, run it by hand: {' '.join(alerts.command)}"
    return GpujobError(f"the test alert was not delivered over the {channel}, from {label}", error, step)
