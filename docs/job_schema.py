"""The keys of a job file described, for editors (JSON Schema) and for the table of docs/job-file.md. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from orchestrator.core.spec import JobSpec

DESCRIPTIONS = {
    "JobSpec": "A training: what runs, with which code and data, and what it needs.",
    "JobSpec.name": "Name of the job: letters, digits, `-` and `_`, at most 40 characters.",
    "JobSpec.trainer": "An included trainer; either this or `command`.",
    "JobSpec.command": "The command to run: a list of words, which is not passed to a shell, or a "
    "text, which is a [shell script](#scripts).",
    "JobSpec.config": "Options of the trainer, or of your script: JSON in `$GPUJOB_CONFIG`.",
    "JobSpec.code": "Folder whose files are sent ([code](remote.md#code)).",
    "JobSpec.exclude": "Files of the code folder that are not sent: patterns as in `.gitignore`.",
    "JobSpec.send_credentials": "Files of the code folder that are sent although gpujob takes them for "
    "[credentials](remote.md#credentials).",
    "JobSpec.data": "Name to folder or file on the client, `host:/path` ([data](remote.md#data)), "
    "or [`s3://bucket/prefix`](s3.md). Relative paths start at the folder of the "
    "job file, or at the current folder for an included job.",
    "JobSpec.env": "The Python environment on the host.",
    "JobSpec.setup": "Lines of a script that is run once on the host ([setup](#setup)).",
    "JobSpec.image": "Image of a container in which docker or podman on the host runs the command "
    "([image](#image)).",
    "JobSpec.resources": "GPUs, disk space and the EC2 instance.",
    "JobSpec.limits": "When a run is stopped.",
    "JobSpec.restart": "New attempts after a crash.",
    "JobSpec.detach": "What happens when a command ends with code 0 while processes that it started "
    "in the background still run: `wait`: the run goes on until they end; `kill`: "
    "they are ended.",
    "JobSpec.outputs": "Files and folders that `gpujob fetch` downloads, relative to the working "
    "folder; `s3://bucket/prefix`: checkpoints and results are [copied "
    "there](s3.md#results).",
    "JobSpec.pass_env": "Names of environment variables of the client, or of `env.file`, that the run "
    "receives. They are sent on stdin to a file that only the user can read, which "
    "is deleted before the command starts.",
    "JobSpec.notify": "Where [alerts](alerts.md) of the run go.",
    "JobSpec.s3": "How data and outputs in S3 are reached from the host.",
    "JobSpec.sweep": "What `gpujob sweep` varies; a deploy ignores it.",
    "Sweep": "What `gpujob sweep` varies, and by what it compares.",
    "Sweep.space": "What [`gpujob sweep`](sweeps.md) varies: key to `LOW..HIGH`, `LOW..HIGH:log` "
    "or a list of values.",
    "Sweep.metric": "The metric by which it compares runs.",
    "Sweep.goal": "`min` or `max`.",
    "Env": "The Python environment on the host.",
    "Env.python": "Interpreter on the host; `auto` is the first one with PyTorch "
    "([environment](remote.md#environment)).",
    "Env.vars": "Variables of the run. Every value is text: `1e-3`, `010` and `yes` stay as they are.",
    "Env.file": "`.env` file with variables; `env.vars` overrides them ([variables](#variables)).",
    "Env.requirements": "Requirements file, `uv.lock` or `pyproject.toml` that is installed on the "
    "host ([requirements](#requirements)).",
    "Resources": "What the run needs.",
    "Resources.gpus": "Number of GPUs of each host: a trainer starts one process per GPU. On a host "
    "without GPU it uses the CPU. With [`deploy --queue`](queue.md) the run sees "
    "these GPUs only, and waits for them.",
    "Resources.nodes": "Number of hosts that train together; with `--on ec2`, of instances to launch "
    "([several hosts](several-hosts.md)).",
    "Resources.master": "`ADDRESS` or `ADDRESS:PORT` by which the other hosts reach the first one.",
    "Resources.gpu": "GPU model of an EC2 instance, such as `L40S`; its types are then chosen by price.",
    "Resources.disk_gb": "Free space in GiB that the run needs on the host, in addition to the files "
    "that are sent.",
    "Resources.ec2": "The EC2 instance that is launched for a run.",
    "Ec2": "The EC2 instance that is launched for a run.",
    "Ec2.types": "Instance types in order of preference.",
    "Ec2.spot": "Use spot capacity.",
    "Ec2.disk_gb": "Disk size in GB; 0: chosen by the size of image and data.",
    "Ec2.regions": "Regions in order of preference.",
    "Ec2.images": "AMI IDs, or names of SSM parameters that contain one.",
    "Ec2.user": "User to log in as.",
    "Ec2.subnet": "Subnet to launch into, for accounts without a default VPC.",
    "Ec2.security_group": "Security group, which gpujob does not change.",
    "Ec2.tags": "Tags of all that gpujob creates in EC2, besides its own, where your organisation requires "
    "some.",
    "Ec2.kms_key": "KMS key that encrypts the disks.",
    "Ec2.private_ip": "Launch without a public address, and connect to the private one (VPN, jump host).",
    "Ec2.instance_profile": "IAM instance profile of the instance, by name or ARN: a role for "
    "[S3](s3.md#credentials).",
    "S3": "How data and outputs in S3 are reached from the host.",
    "S3.credentials": "Credentials with which the host reaches [S3](s3.md#credentials): `host`, those "
    "that it has; `session`, short-lived ones that it is sent; `none`, for public data.",
    "S3.role": "ARN of the role that a session assumes.",
    "S3.endpoint": "URL of another S3 server.",
    "S3.region": "Region of the buckets.",
    "Limits": "When a run is stopped.",
    "Limits.max_hours": "Hours after which the run is stopped, over all attempts.",
    "Limits.budget_usd": "Maximum spend in USD, converted to hours at the hourly price.",
    "Limits.idle_minutes": "Minutes without output, event or GPU use after which the run is stopped. "
    "Without it, an EC2 instance with an idle run shuts down after 30 minutes.",
    "Limits.grace_seconds": "Seconds from SIGTERM to SIGKILL, for a checkpoint.",
    "Restart": "New attempts after a crash.",
    "Restart.max": "Number of restarts after a crash. A run that failed because of its data, its "
    "checks or divergence is not restarted.",
    "Notify": "Where alerts go, and which.",
    "Notify.webhook_env": "Name of the environment variable that holds the URL of a webhook, a secret.",
    "Notify.format": "What the webhook takes. `auto`: by the host of its URL; `json` for one that is "
    "not known.",
    "Notify.command": "A command on the host, as a list of words. It gets `$GPUJOB_ALERT_TITLE` "
    "and `$GPUJOB_ALERT_MESSAGE`.",
    "Notify.events": "Which [alerts](alerts.md) are sent.",
}
"""By type and key, in Markdown; links start in docs/."""

DEFAULTS = {
    "JobSpec.name": "required",
    "JobSpec.code": "none with `trainer`; the folder of the job file with `command`",
    "JobSpec.setup": "none",
    "JobSpec.notify": "the setting `notify`",
    "Resources.nodes": "the number of hosts after `--on`",
    "Resources.master": "found by trying the addresses of the first one",
    "Ec2.types": "a list of GPU types",
    "Ec2.regions": "the setting `region`",
    "Ec2.images": "Deep Learning AMIs",
    "Ec2.subnet": "the default subnets",
    "Ec2.security_group": "one of gpujob's own",
    "Ec2.kms_key": "the account's default",
    "S3.role": "a federated user",
    "S3.endpoint": "AWS",
    "S3.region": "that of the AWS configuration",
    "Limits.max_hours": "none; 24 on EC2",
    "Notify.events": "all",
}
"""What a key that is not written means, where its type does not say it."""

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")
_REFERENCE = re.compile(r" \(\[[^]]*\]\([^)]*\)\)")  # such as ([code](remote.md#code))


def json_schema() -> dict[str, Any]:
    """For editors; jobs/job.schema.json is this.

    A command may be a text, and a variable a number: the types in spec.py are those after reading.
    """
    schema = msgspec.json.schema(JobSpec)
    for name, definition in schema["$defs"].items():
        definition["description"] = DESCRIPTIONS[name]
        properties = definition["properties"]
        for key, value in properties.items():
            properties[key] = {"description": _for_editors(f"{name}.{key}"), **value}
    keys = schema["$defs"]["JobSpec"]["properties"]
    lines = {"type": "array", "items": {"type": "string"}}
    keys["setup"] = {"description": keys["setup"]["description"], "anyOf": [lines, {"type": "string"}]}
    keys["command"]["anyOf"].append({"type": "string"})
    scalar = [{"type": kind} for kind in ("string", "number", "boolean")]
    schema["$defs"]["Env"]["properties"]["vars"]["additionalProperties"] = {"anyOf": scalar}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gpujob job", **schema}


def _for_editors(key: str) -> str:
    """The description of a key as text, with its default where the schema itself does not have it."""
    text = _LINK.sub(r"\1", _REFERENCE.sub("", DESCRIPTIONS[key]))
    default = DEFAULTS.get(key, "required")
    return text if default == "required" else f"{text} Default: {default}."


def table() -> str:
    """Every key with its default and meaning, as a table in Markdown; keys of keys with a dot."""
    rows = [f"| `{path}` | {default} | {text} |" for path, default, text in _rows(JobSpec, "")]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _rows(kind: Any, path: str) -> Iterator[tuple[str, str, str]]:
    fields = msgspec.structs.fields(kind)
    for field in sorted(fields, key=lambda one: _struct(one.type) is not None):
        key = f"{kind.__name__}.{field.name}"
        inner = _struct(field.type)
        if inner is None or key in DEFAULTS:
            yield f"{path}{field.name}", DEFAULTS.get(key) or _written(field), DESCRIPTIONS[key]
        if inner:
            yield from _rows(inner, f"{path}{field.name}.")


def _struct(annotation: Any) -> Any:
    """The msgspec struct in a type such as `Notify | None`; None if there is none."""
    kinds = getattr(annotation, "__args__", (annotation,))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, msgspec.Struct)), None)


def _written(field: msgspec.structs.FieldInfo) -> str:
    """A default as one would write it into a job file."""
    value: Any = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if callable(field.default_factory) else None
    if value is None or value == "":
        return "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
