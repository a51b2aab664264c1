"""What a user types after --on → a Target. A new target is a file and a line here."""

from __future__ import annotations

from orchestrator.context import Context
from orchestrator.errors import UsageError
from orchestrator.settings_files import Setting
from orchestrator.targets.base import Target


def target(ctx: Context, settings: dict[str, Setting], word: str | None = None) -> Target:
    """The target of `word`, else of the settings. UsageError for an unknown one.

    Each module is imported when its target is used: `--on local` pays for no other.
    """
    if word == "":
        raise UsageError(
            "--on is empty", "a variable of your shell may not be set", "--on local, or --on HOST"
        )
    word = word or settings["target"].value
    if "," in word:
        from orchestrator.core import groups  # noqa: PLC0415
        from orchestrator.targets.group import GroupTarget  # noqa: PLC0415

        return GroupTarget(ctx, [target(ctx, settings, one) for one in groups.split(word)])
    if word == "local":
        from orchestrator.targets.local import LocalTarget  # noqa: PLC0415

        return LocalTarget(ctx, settings["root"].value)
    if word == "ec2" or word.startswith("ec2:"):
        from orchestrator.instances.target import Ec2Target  # noqa: PLC0415

        return Ec2Target(ctx, word, [settings["region"].value])
    from orchestrator.targets.ssh.host import SshTarget  # noqa: PLC0415

    return SshTarget(ctx, word)


def require_transfer(ctx: Context, target: Target) -> None:
    """GpujobError where this machine lacks what the target needs to transfer files."""
    if target.needs_rsync:
        from orchestrator.targets.ssh import rsync  # noqa: PLC0415

        rsync.require(ctx)
