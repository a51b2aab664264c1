"""The settings of a command: the one place that reads the files and variables they come from.

flag > GPUJOB_* > gpujob.yaml > user file > AWS's own > default; every value knows where it came from.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import notify
from orchestrator.core.text import closest
from orchestrator.errors import UsageError

PROJECT_FILE = "gpujob.yaml"
_PATHS = ("root", "fetch_dir")
DEFAULTS = {
    "target": "local",
    "root": "~/.gpujob",
    "fetch_dir": "fetched",
    "region": "us-east-1",
    "aws_profile": "",
    "notify": "",
}
ABOUT = {
    "target": "the target to use without --on",
    "root": "folder of the runs on this machine",
    "fetch_dir": "folder that fetch writes to",
    "region": "AWS region for instances, unless the job names regions",
    "aws_profile": "profile of ~/.aws whose account is asked, stronger than AWS_PROFILE",
    "notify": "where alerts go of a run whose job does not say, as in a job file",
}
ENVIRONMENT = {f"GPUJOB_{key.upper()}": key for key in DEFAULTS}
OF_AWS = {"AWS_REGION": "region", "AWS_DEFAULT_REGION": "region"}
"""AWS's own variables, weaker than ours and than our files."""


class Setting(msgspec.Struct, frozen=True):
    """A value and the layer that gave it."""

    value: str
    source: str


class Layer(msgspec.Struct, frozen=True):
    """One place that settings come from."""

    source: str
    values: Mapping[str, str]


def load(ctx: Context) -> dict[str, Setting]:
    """Settings of this command; a flag such as --on overrides them."""
    ours = [*from_environment(ctx.env), *(_file_layer(ctx, path) for path in paths(ctx))]
    profile = resolve(ours)["aws_profile"].value
    return resolve([*ours, *from_environment(ctx.env, OF_AWS), *_aws_region(ctx, profile)])


def resolve(layers: Sequence[Layer]) -> dict[str, Setting]:
    """`layers` from the strongest to the weakest, without the defaults. Unknown keys: UsageError."""
    for layer in layers:
        for key in layer.values:
            if key not in DEFAULTS:
                close = closest(key, DEFAULTS)
                guess = f"did you mean {close!r}?" if close else f"known: {', '.join(DEFAULTS)}"
                raise UsageError(
                    f"{layer.source}: unknown setting {key!r}",
                    guess,
                    f"correct or remove {key} in {layer.source}",
                )
    return {key: _strongest(key, layers) for key in DEFAULTS}


def _strongest(key: str, layers: Sequence[Layer]) -> Setting:
    for layer in layers:
        if key in layer.values:
            return Setting(layer.values[key], layer.source)
    return Setting(DEFAULTS[key], "default")


def from_environment(env: Mapping[str, str], names: Mapping[str, str] = ENVIRONMENT) -> list[Layer]:
    """A layer a variable, so that `config show` names it. An empty variable is not set."""
    return [Layer(f"${name}", {key: env[name]}) for name, key in names.items() if env.get(name)]


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


def _aws_region(ctx: Context, chosen: str) -> list[Layer]:
    """The region in ~/.aws/config, of the profile that AWS's tools would use."""
    path = ctx.path(ctx.env.get("AWS_CONFIG_FILE") or "~/.aws/config")
    profile = chosen or ctx.env.get("AWS_PROFILE") or ctx.env.get("AWS_DEFAULT_PROFILE") or "default"
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    return from_aws_profile(text, profile, ctx.short(path))


def from_aws_profile(text: str, profile: str, source: str) -> list[Layer]:
    """The region of a profile in AWS's config file; nothing where the file cannot be parsed."""
    import configparser  # noqa: PLC0415 - 10 ms, only where there is such a file

    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error):
        parser.read_string(text)
        names = [["profile", profile], *([["default"]] if profile == "default" else [])]
        for section in (one for one in parser.sections() if _words(one) in names):
            if region := parser.get(section, "region", fallback="").strip():
                return [Layer(f"{source} [{section}]", {"region": region})]
    return []


def _words(section: str) -> list[str]:
    """The words of a section's name, of which AWS's tools quote a profile with a blank in its name."""
    with contextlib.suppress(ValueError):
        return shlex.split(section)
    return []
