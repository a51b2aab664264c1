"""Commands of other tools that a newcomer may type, and the command of gpujob that does the same."""

from __future__ import annotations

_STATUS = "gpujob status"
_DEPLOY = "gpujob deploy JOB"
_LOGS = "gpujob logs"
_STOP = "gpujob stop"
_FETCH = "gpujob fetch"
_SSH = "gpujob ssh"
_UP = "gpujob hosts up"
_LIST = "gpujob hosts list"
_DOWN = "gpujob hosts down ec2"

EQUIVALENTS = {
    "alert": "gpujob notify",
    "alerts": "gpujob notify",
    "apply": _DEPLOY,
    "attach": "gpujob monitor --attach",
    "cancel": _STOP,
    "connect": _SSH,
    "copy": "gpujob cp",
    "create": _DEPLOY,
    "delete": "gpujob stop --purge",
    "destroy": _DOWN,
    "down": _DOWN,
    "download": _FETCH,
    "exec": _SSH,
    "follow": _LOGS,
    "get": _FETCH,
    "help": "gpujob --help",
    "info": _STATUS,
    "inspect": _STATUS,
    "instances": _LIST,
    "job": _STATUS,
    "jobs": _STATUS,
    "kill": "gpujob stop --now",
    "launch": _DEPLOY,
    "list": _STATUS,
    "log": _LOGS,
    "login": _SSH,
    "ls": _STATUS,
    "new": "gpujob init",
    "price": "gpujob deploy JOB --on ec2 --dry-run",
    "ps": _STATUS,
    "pull": _FETCH,
    "push": _DEPLOY,
    "queue": _STATUS,
    "resume": "gpujob deploy --resume RUN",
    "rm": "gpujob stop --purge",
    "run": _DEPLOY,
    "shell": _SSH,
    "start": _DEPLOY,
    "submit": _DEPLOY,
    "sync": _FETCH,
    "tail": _LOGS,
    "terminate": _DOWN,
    "test": "gpujob check JOB",
    "top": "gpujob monitor",
    "train": _DEPLOY,
    "up": _UP,
    "upload": _DEPLOY,
    "validate": "gpujob check JOB",
    "version": "gpujob --version",
    "watch": "gpujob monitor",
    "config get": "gpujob config show",
    "config list": "gpujob config show",
    "config ls": "gpujob config show",
    "hosts add": "gpujob hosts attach NAME",
    "hosts create": _UP,
    "hosts delete": _DOWN,
    "hosts destroy": _DOWN,
    "hosts kill": _DOWN,
    "hosts launch": _UP,
    "hosts ls": _LIST,
    "hosts ps": _LIST,
    "hosts rm": _DOWN,
    "hosts ssh": _SSH,
    "hosts start": _UP,
    "hosts status": _LIST,
    "hosts stop": _DOWN,
    "hosts terminate": _DOWN,
}


def find(group: str, name: str) -> str | None:
    """The command to type for `gpujob GROUP NAME`; `group` is empty for `gpujob NAME`."""
    return EQUIVALENTS.get(f"{group} {name}".strip())
