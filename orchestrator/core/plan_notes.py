"""What a user should know about a plan before it is carried out. Pure."""

from __future__ import annotations

from orchestrator.core import hostchecks, s3
from orchestrator.core.inputs import Interpreter, PlanInputs


def build(inputs: PlanInputs, python: Interpreter | None) -> tuple[str, ...]:
    """`python`: the interpreter of the run, None where it has none or that is unknown."""
    notes = list(inputs.warnings)
    job, facts = inputs.job, inputs.facts
    if facts and job.trainer and job.resources.gpus:
        if facts.gpus is None:
            notes.append("the GPUs of the host could not be queried")
        elif not facts.gpus:
            notes.append("no GPU on the host: the run will use its CPU")
        elif python and python.torch and python.cuda is None:
            notes.append(f"torch {python.torch} is built without CUDA: the run will use the host's CPU")
    if facts and (logout := hostchecks.describe_logout(facts)):
        notes.append(logout)
    if job.pass_env:
        notes.append(f"pass_env: the host gets {', '.join(job.pass_env)} of this machine's environment")
    if job.notify and job.notify.is_on:
        notes.append(f"notify: {job.notify.describe()}")
    notes += s3.notes(job.s3, job.data, job.outputs)
    if job.limits.max_hours is None:
        notes.append("no limits.max_hours: the run has no time limit")
    return tuple(notes)
