"""Folders that this user alone may use, whatever the umask is and whoever else works on the host."""

from __future__ import annotations

import os
import stat

from orchestrator.onhost.errors import Refused

_OTHERS = 0o077

user_umask = _OTHERS  # of the client's shell on this host: that of the runs that it starts


def restrict_umask() -> None:
    """Makes new files and folders of this process private; keeps the umask of the user in `user_umask`."""
    global user_umask
    user_umask = os.umask(_OTHERS)


def make_folder(path: str) -> None:
    """Creates a folder that may stand in a folder of all users, such as /tmp.

    Raises Refused if that is impossible, or another user has put a link, a file or a folder of theirs there.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        about = os.lstat(path)
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            what = "a link or a file" if not stat.S_ISDIR(about.st_mode) else "a folder of another user"
            raise Refused("unsafe-folder", "%s is %s" % (path, what)) from None
        if about.st_mode & _OTHERS:
            os.chmod(path, 0o700)
    except OSError as error:
        raise Refused("no-folder", "%s cannot be created: %s" % (path, error.strerror)) from None


def require_root(root: str) -> None:
    """Raises Refused for a root folder in which other users may replace code that runs as this user."""
    try:
        about = os.stat(root)
    except OSError:
        return  # it is created, or the operation says why it cannot be
    if os.geteuid() not in (0, about.st_uid):
        raise Refused("unsafe-root", "the folder %s belongs to another user" % root)
    if about.st_mode & stat.S_IWOTH:
        what = "every user may write to the folder %s, and so replace code and checkpoints in it" % root
        raise Refused("unsafe-root", what)
