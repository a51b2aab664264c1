"""Makes the working folder of a run: its own copy of the code."""

from __future__ import annotations

import os
import shutil

from orchestrator.core.layout import Layout
from orchestrator.onhost import cleaning, setup
from orchestrator.onhost.errors import Refused
from orchestrator.onhost.records import RunSpec


def create(layout: Layout, work: str, spec: RunSpec) -> None:
    """Makes a writable copy of a stored tree, with what the job's setup left; renamed once it is complete."""
    partial, tree = work + ".partial", spec.code_tree
    cleaning.remove(partial)
    if tree and not os.path.isdir(layout.tree(tree)):
        raise Refused("no-tree", "the code of this run (tree %s) is no longer on the host" % tree)
    if tree:
        shutil.copytree(layout.tree(tree), partial, symlinks=True)
        for folder, _, names in os.walk(partial):
            os.chmod(folder, 0o700)
            for name in names:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, os.stat(path).st_mode | 0o200)
    else:
        os.makedirs(partial)
    if spec.setup_folder:
        setup.overlay(spec.setup_folder, partial)
    os.rename(partial, work)
