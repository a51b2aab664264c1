"""What a user types after --on → a Target. Adding one is a file and a line here."""

from __future__ import annotations

from orchestrator.context import Context
from orchestrator.core.settings import Setting
from orchestrator.targets.base import Target


def target(ctx: Context, settings: dict[str, Setting], word: str | None = None) -> Target:
    """The target of `word`, or of the settings. UsageError for one that is not known.

    Each is imported where it is wanted: `status` of this machine pays for no other.
    """
    chosen = word or settings["target"].value
    if chosen == "local":
        from orchestrator.targets.local import LocalTarget  # noqa: PLC0415

        return LocalTarget(ctx, settings["root"].value)
    if chosen == "ec2" or chosen.startswith("ec2:"):
        from orchestrator.instances.target import Ec2Target  # noqa: PLC0415

        return Ec2Target(ctx, chosen, [settings["region"].value])
    from orchestrator.targets.ssh.host import SshTarget  # noqa: PLC0415

    return SshTarget(ctx, chosen)


def must_transfer(ctx: Context, settings: dict[str, Setting], word: str | None = None) -> None:
    """GpujobError where this machine has no way to bring files to `target` and home."""
    if (word or settings["target"].value) != "local":
        from orchestrator.targets.ssh import localrsync  # noqa: PLC0415

        localrsync.require(ctx)
