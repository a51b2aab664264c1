"""The settings of a command: the one place that reads the files and variables they come from."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import notify
from orchestrator.core.settings import (
    ABOUT,
    OF_AWS,
    Layer,
    Setting,
    from_aws_profile,
    from_environment,
    resolve,
)
from orchestrator.errors import UsageError

PROJECT_FILE = "gpujob.yaml"
_PATHS = ("root", "fetch_dir")


def load(ctx: Context) -> dict[str, Setting]:
    """Settings of this command; a flag such as --on stands above all of them."""
    ours = [*from_environment(ctx.env), *(_file_layer(ctx, path) for path in paths(ctx))]
    profile = resolve(ours)["aws_profile"].value
    return resolve([*ours, *from_environment(ctx.env, OF_AWS), *_aws_region(ctx, profile)])


def _aws_region(ctx: Context, chosen: str) -> list[Layer]:
    """The region in ~/.aws/config, of the profile that AWS's tools would use."""
    path = ctx.path(ctx.env.get("AWS_CONFIG_FILE") or "~/.aws/config")
    profile = chosen or ctx.env.get("AWS_PROFILE") or ctx.env.get("AWS_DEFAULT_PROFILE") or "default"
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    return from_aws_profile(text, profile, ctx.short(path))


def paths(ctx: Context) -> list[Path]:
    """The settings files that are read, the strongest first: the project's, then the user's."""
    candidates = (_project_file(ctx.cwd), ctx.config_file)
    return [path for path in candidates if path and path.exists()]


def _project_file(cwd: Path) -> Path | None:
    """The nearest gpujob.yaml from the current folder up to the root of its git work tree.

    Above the current folder, only one of the user's own: another's could name the host that code goes to.
    """
    here = cwd / PROJECT_FILE
    root = next((folder for folder in (cwd, *cwd.parents) if (folder / ".git").exists()), cwd)
    if here.exists() or root == cwd:
        return here
    above = [folder for folder in cwd.parents if folder == root or folder.is_relative_to(root)]
    existing = (path for folder in above if (path := folder / PROJECT_FILE).exists())
    return next((path for path in existing if path.stat().st_uid in (0, os.getuid())), None)


def _file_layer(ctx: Context, path: Path) -> Layer:
    """Paths in a project's file above the current folder are relative to that file."""
    from orchestrator.core import yamltext  # noqa: PLC0415 - for a settings file only

    name = ctx.short(path)
    text = files.read_text(path, name)
    try:
        value = yamltext.parse(text).value or {}
    except yamltext.YamlError as error:
        raise UsageError(f"{name}:{error.line}: {error}", "the settings file is not valid YAML") from None
    if isinstance(value, dict) and isinstance(value.get("notify"), dict):
        value = {**value, "notify": notify.to_text(value["notify"])}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        what, why = f"{name}: settings are a mapping of keys to texts", f"keys: {', '.join(ABOUT)}"
        raise UsageError(what, why, f"write lines such as `target: gpubox` to {name}")
    if path.name == PROJECT_FILE and path.parent != ctx.cwd:
        value |= {key: str(path.parent / ctx.expand(value[key])) for key in _PATHS if key in value}
    return Layer(name, value)
