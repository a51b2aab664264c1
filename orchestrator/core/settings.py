"""flag > GPUJOB_* > gpujob.yaml > user file > default; every value knows where it came from."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence

import msgspec

from orchestrator.core.text import closest
from orchestrator.errors import UsageError

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


def from_environment(env: Mapping[str, str], names: Mapping[str, str] = ENVIRONMENT) -> list[Layer]:
    """A layer a variable, so that `config show` names it. An empty variable is not set."""
    return [Layer(f"${name}", {key: env[name]}) for name, key in names.items() if env.get(name)]


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


def _strongest(key: str, layers: Sequence[Layer]) -> Setting:
    for layer in layers:
        if key in layer.values:
            return Setting(layer.values[key], layer.source)
    return Setting(DEFAULTS[key], "default")
