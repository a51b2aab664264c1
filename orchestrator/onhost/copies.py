"""Receives files that a user copies into a run's folder: verified, then put in place; none is lost."""

from __future__ import annotations

import os
import shutil
from typing import Mapping, TypedDict

from orchestrator.core.layout import Layout
from orchestrator.core.paths import inside, is_step
from orchestrator.onhost import files, staging
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.inventory import is_inside

FOLDER = ".copies"  # in a run's folder: what arrives
_PLACES = ("work", "checkpoints")


class Copy(TypedDict):
    """The empty folder for the files of one copy."""

    folder: str
    token: str


class Copied(TypedDict):
    """`kept`: the files that were replaced, under their new names."""

    kept: list[str]


def begin(layout: Layout, run_id: str) -> Copy:
    """Creates the folder of a copy; what interrupted copies left is removed."""
    paths = layout.run(run_id)
    if not os.path.isdir(paths.folder):
        raise Refused("no-run", "no run %s on this host" % run_id)
    token = staging.make_own_folder(os.path.join(paths.folder, FOLDER))
    return {"folder": os.path.join(paths.folder, FOLDER, token), "token": token}


def finish(layout: Layout, run_id: str, token: str, targets: Mapping[str, list[str]], force: bool) -> Copied:
    """Verifies the files that arrived and renames them to their places; removes the folder of the copy.

    `targets`: name of an arrived file → [path in the run's folder, sha256]. Without `force` a file that is
    there is not replaced; with it, it is kept beside the new one, as NAME~. Raises Refused before anything is
    changed.
    """
    run = os.path.realpath(layout.run(run_id).folder)
    arrived = os.path.join(run, FOLDER, os.path.basename(token))
    try:
        for name, (path, digest) in targets.items():
            _require_place(run, path, force)
            if not inside(name) or files.sha256(os.path.join(arrived, name)) != digest:
                raise Refused("damaged", "%s was damaged in transfer; repeat the command" % path)
        kept = []
        for name, (path, _) in targets.items():
            final = os.path.join(run, path)
            os.makedirs(os.path.dirname(final), exist_ok=True)
            if os.path.lexists(final):
                kept.append(_keep(final))
            os.replace(os.path.join(arrived, name), final)
        return {"kept": [os.path.relpath(path, run) for path in kept]}
    finally:
        shutil.rmtree(arrived, ignore_errors=True)


def _require_place(run: str, path: str, force: bool) -> None:
    """Raises Refused for a path that gpujob writes itself, that leads out of the run, or that is taken."""
    first, _, rest = path.partition("/")
    if not inside(path) or first not in _PLACES or not rest:
        raise Refused("place", "%s: files are copied to work/ or checkpoints/ of a run" % path)
    final = os.path.join(run, path)
    parent = os.path.dirname(final)
    if not is_inside(os.path.join(run, first), os.path.realpath(parent)) or os.path.islink(final):
        raise Refused("place", "%s leads through a link out of the run" % path)
    if os.path.isdir(final):
        raise Refused("folder", "%s is a folder; %s/ copies into it" % (path, path))
    if os.path.lexists(final):
        if first == "checkpoints" and is_step(rest.partition("/")[0]):
            raise Refused("place", "%s is of a checkpoint, which is never replaced" % path)
        if not force:
            raise Refused("exists", "%s exists in the run" % path)
    existing = parent
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        raise Refused("place", "%s: %s is no folder" % (path, os.path.relpath(existing, run)))


def _keep(path: str) -> str:
    number = 1
    while os.path.lexists(path + "~" * number):
        number += 1
    os.rename(path, path + "~" * number)
    return path + "~" * number
