"""`gpujob config show`, and the one place that collects the layers of settings."""

from __future__ import annotations

from orchestrator import files
from orchestrator.context import Context
from orchestrator.core import decode
from orchestrator.core.settings import ABOUT, Layer, Setting, from_environment, resolve
from orchestrator.errors import UsageError


def load(ctx: Context) -> dict[str, Setting]:
    """Settings of this command; a flag such as --on stands above all of them."""
    paths = [(ctx.cwd / "gpujob.yaml", "gpujob.yaml"), (ctx.config_file, str(ctx.config_file))]
    layers = [_file_layer(files.read_text(path, name), name) for path, name in paths if path.exists()]
    return resolve([*from_environment(ctx.env), *layers])


def show(ctx: Context) -> int:
    settings = load(ctx)
    if ctx.json:
        rows = {key: {"value": s.value, "source": s.source} for key, s in settings.items()}
        ctx.answer({"settings": rows})
        return 0
    for key, setting in settings.items():
        ctx.out(f"{key:10} {setting.value:24} from {setting.source:22} {ABOUT[key]}")
    return 0


def _file_layer(text: str, name: str) -> Layer:
    try:
        value = decode.parse(text).value or {}
    except decode.YamlError as error:
        raise UsageError(f"{name}:{error.line}: {error}", "the settings file is not valid YAML") from None
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise UsageError(f"{name}: settings are a mapping of keys to texts", "", "gpujob config show")
    return Layer(name, value)
