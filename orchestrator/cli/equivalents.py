"""Commands of other tools that a newcomer may type, and the command of gpujob that does the same."""

from __future__ import annotations

_EQUIVALENTS = {
    "": {
        "gpujob notify": "alert alerts",
        "gpujob deploy JOB": "apply create launch push run start submit train upload",
        "gpujob monitor --attach": "attach",
        "gpujob stop": "cancel",
        "gpujob ssh": "connect exec login shell",
        "gpujob cp": "copy",
        "gpujob stop --purge": "delete rm",
        "gpujob hosts down ec2": "destroy down terminate",
        "gpujob fetch": "download get pull sync",
        "gpujob logs": "follow log tail",
        "gpujob --help": "help",
        "gpujob status": "info inspect job jobs list ls ps queue",
        "gpujob hosts list": "instances",
        "gpujob stop --now": "kill",
        "gpujob init": "new",
        "gpujob deploy JOB --on ec2 --dry-run": "price",
        "gpujob deploy --resume RUN": "resume",
        "gpujob check JOB": "test validate",
        "gpujob monitor": "top watch",
        "gpujob hosts up": "up",
        "gpujob --version": "version",
    },
    "config ": {
        "gpujob config show": "get list ls",
    },
    "hosts ": {
        "gpujob hosts attach NAME": "add",
        "gpujob hosts up": "create launch start",
        "gpujob hosts down ec2": "delete destroy kill rm stop terminate",
        "gpujob hosts list": "ls ps status",
        "gpujob ssh": "ssh",
    },
}
"""Group → the command to type → what others name it."""
EQUIVALENTS = {
    f"{group}{name}": command
    for group, commands in _EQUIVALENTS.items()
    for command, names in commands.items()
    for name in names.split()
}


def find(group: str, name: str) -> str | None:
    """The command to type for `gpujob GROUP NAME`; `group` is empty for `gpujob NAME`."""
    return EQUIVALENTS.get(f"{group} {name}".strip())
