"""Whether two deploys would start the same thing."""

from __future__ import annotations

import hashlib
import json

import msgspec

from orchestrator.core.inputs import PlanInputs
from orchestrator.core.spec import JobSpec


def fingerprint(inputs: PlanInputs) -> str:
    """Equal for two deploys that would start the same thing: the second continues what the first began."""
    trees = [code.tree for code in inputs.trees]
    data = sorted((one.name, one.path_on_host(inputs.root), one.fingerprint) for one in inputs.data)
    content = [_job_content(inputs.job), trees, data, inputs.requirements or ""]
    if inputs.variables:
        content.append(dict(inputs.variables))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


_EC2 = ("subnet", "security_group", "tags", "kms_key", "private_ip", "instance_profile")
_LATER_KEYS = (
    *(("exclude",), ("send_credentials",), ("detach",), ("notify",), ("resources", "gpu")),
    *(("env", "vars"), ("env", "file"), ("setup",), ("sweep",), ("image",), ("s3",)),
    *(("resources", "nodes"), ("resources", "master")),
    *(("resources", "ec2", key) for key in _EC2),
)
"""Keys that a job file of version 1 did not have: with their defaults they change no fingerprint."""


def _job_content(job: JobSpec) -> object:
    content, defaults = msgspec.to_builtins(job), msgspec.to_builtins(JobSpec(name=""))
    for *parents, key in _LATER_KEYS:
        within, default = content, defaults
        for parent in parents:
            within, default = within[parent], default[parent]
        if within[key] == default[key]:
            del within[key]
    return content
