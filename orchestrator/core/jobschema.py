"""The JSON Schema of the job file, with a description of each key, which editors show. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.core.spec import JobSpec

DESCRIPTIONS = {
    "JobSpec": "A training: what runs, with which code and data, and what it needs.",
    "JobSpec.name": "Name of the job: letters, digits, - and _, at most 40 characters.",
    "JobSpec.trainer": "An included trainer. Either this or command.",
    "JobSpec.command": "The command to run: a list of words, [python, train.py], or a text that bash runs.",
    "JobSpec.config": "Options of the trainer, or of your script: JSON in $GPUJOB_CONFIG.",
    "JobSpec.code": "Folder whose files are sent. Default: the folder of the job file; none with trainer.",
    "JobSpec.exclude": "Files of the code folder that are not sent: patterns as in .gitignore.",
    "JobSpec.send_credentials": "Files that are sent although gpujob takes them for credentials.",
    "JobSpec.data": "Data folders or files by name; host:/PATH is on the host already, s3://… is "
    "downloaded there. A run finds each in $GPUJOB_DATA_NAME.",
    "JobSpec.env": "The Python environment on the host.",
    "JobSpec.setup": "Script that is run once on the host, in the job's environment: a text, or lines.",
    "JobSpec.image": "Image of a container, in which docker or podman on the host runs the command.",
    "JobSpec.resources": "GPUs, disk space and the EC2 instance.",
    "JobSpec.limits": "When a run is stopped.",
    "JobSpec.restart": "New attempts after a crash.",
    "JobSpec.detach": "If the command ends while processes that it started in the background still run: wait "
    "for them, or kill them.",
    "JobSpec.outputs": "Files and folders that `gpujob fetch` downloads, relative to the working folder; "
    "s3://BUCKET/PREFIX: results are copied there, too.",
    "JobSpec.pass_env": "Environment variables of your machine that the run receives, by name.",
    "JobSpec.notify": "Where alerts of the run go.",
    "JobSpec.s3": "How data and outputs in S3 are reached from the host.",
    "JobSpec.sweep": "What `gpujob sweep` varies; a deploy ignores it.",
    "Sweep": "What `gpujob sweep` varies, and by what it compares.",
    "Sweep.space": "Key of the job file to LOW..HIGH, LOW..HIGH:log, or a list of values.",
    "Sweep.metric": "Metric by which runs are compared: SPLIT.NAME. Default: val.loss.",
    "Sweep.goal": "min or max. Default: min.",
    "Env": "The Python environment on the host.",
    "Env.python": "Interpreter on the host. auto: the first one with PyTorch.",
    "Env.vars": "Environment variables of the run; secrets go into pass_env.",
    "Env.file": "A .env file with more variables of the run.",
    "Env.requirements": "Requirements file that pip installs on the host, once, over its PyTorch.",
    "Resources": "What the run needs.",
    "Resources.gpus": "Number of GPUs of each host; a trainer starts one process for each.",
    "Resources.nodes": "Number of hosts that train together; --on names them, rank 0 first.",
    "Resources.master": "ADDRESS or ADDRESS:PORT by which the other hosts reach rank 0. Default: found by "
    "trying the addresses of that host.",
    "Resources.gpu": "GPU model of an EC2 instance, such as L40S. Its types are then chosen by price.",
    "Resources.disk_gb": "Free space in GiB that the run needs on the host, besides what is sent.",
    "Resources.ec2": "The EC2 instance that is launched for a run.",
    "Ec2": "The EC2 instance that is launched for a run.",
    "Ec2.types": "Instance types in order of preference, such as g5.xlarge.",
    "Ec2.spot": "Use spot capacity: cheaper, but AWS may interrupt it.",
    "Ec2.disk_gb": "Disk size in GB. 0: chosen by the size of image and data.",
    "Ec2.regions": "Regions in order of preference. Default: the setting region.",
    "Ec2.images": "AMI IDs, or names of SSM parameters that hold one. Default: Deep Learning AMIs.",
    "Ec2.user": "User to log in as.",
    "Ec2.subnet": "Subnet to launch into, for accounts without a default VPC.",
    "Ec2.security_group": "Security group, which gpujob does not change. Default: one of its own.",
    "Ec2.tags": "Tags besides gpujob's.",
    "Ec2.kms_key": "KMS key that encrypts the disks. Default: the account's.",
    "Ec2.private_ip": "Launch without a public address, and connect to the private one.",
    "Ec2.instance_profile": "IAM instance profile of the instance, for data and outputs in S3.",
    "S3": "How data and outputs in S3 are reached from the host.",
    "S3.credentials": "host: those that the host has. session: sent to it, short-lived. none: public data.",
    "S3.role": "ARN of the role that a session assumes. Default: a federated user.",
    "S3.endpoint": "URL of another server than AWS, such as https://s3.example.org.",
    "S3.region": "Region of the buckets. Default: that of the AWS configuration.",
    "Limits": "When a run is stopped.",
    "Limits.max_hours": "Hours over all attempts. Default: none; 24 on EC2.",
    "Limits.budget_usd": "Maximum spend in USD on EC2, converted to hours at the hourly price.",
    "Limits.idle_minutes": "Minutes without output, event or GPU use.",
    "Limits.grace_seconds": "Seconds between SIGTERM and SIGKILL, for a checkpoint.",
    "Restart": "New attempts after a crash.",
    "Restart.max": "Number of restarts; none after bad data, a failed check or divergence.",
    "Notify": "Where alerts go, and which.",
    "Notify.webhook_env": "Environment variable that holds the URL of a webhook, a secret: this is its name.",
    "Notify.format": "What the webhook takes. auto: by the host of its URL; json for one that is not known.",
    "Notify.command": "A command on the host, as a list of words. It gets $GPUJOB_ALERT_TITLE and "
    "$GPUJOB_ALERT_MESSAGE.",
    "Notify.events": "What is reported. end: however it ended. deadline: in 30 minutes. budget: 80 % used.",
}
"""By type and key."""


def json_schema() -> dict[str, Any]:
    """For editors; jobs/job.schema.json is this.

    A command may be a text, and a variable a number: the types in spec.py are those after reading.
    """
    schema = msgspec.json.schema(JobSpec)
    for name, definition in schema["$defs"].items():
        definition["description"] = DESCRIPTIONS[name]
        properties = definition["properties"]
        for key, value in properties.items():
            properties[key] = {"description": DESCRIPTIONS[f"{name}.{key}"], **value}
    keys = schema["$defs"]["JobSpec"]["properties"]
    lines = {"type": "array", "items": {"type": "string"}}
    keys["setup"] = {"description": keys["setup"]["description"], "anyOf": [lines, {"type": "string"}]}
    keys["command"]["anyOf"].append({"type": "string"})
    scalar = [{"type": kind} for kind in ("string", "number", "boolean")]
    schema["$defs"]["Env"]["properties"]["vars"]["additionalProperties"] = {"anyOf": scalar}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "gpujob job", **schema}
