"""`gpujob config show`."""

from __future__ import annotations

from orchestrator.context import Context
from orchestrator.settings_files import ABOUT, PROJECT_FILE, load, paths
from orchestrator.view import answers


def show(ctx: Context) -> int:
    settings, read = load(ctx), [ctx.short(path) for path in paths(ctx)]
    if ctx.json:
        rows = {
            key: answers.SettingValue(value=one.value, source=one.source) for key, one in settings.items()
        }
        ctx.answer(answers.Config(settings=rows, files=tuple(read)))
        return 0
    for key, setting in settings.items():
        ctx.out(f"{key:11} {setting.value:24} from {setting.source:22} {ABOUT[key]}")
    ctx.out(f"settings files: {', '.join(read) or f'none ({PROJECT_FILE}, {ctx.config_file})'}")
    return 0
