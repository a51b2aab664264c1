"""The control connection to a host: fabric where it is sufficient, else OpenSSH (choice.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.context import Context
from orchestrator.targets.pipes import Pipe
from orchestrator.targets.ssh import choice
from orchestrator.targets.ssh.address import Resolved
from orchestrator.targets.ssh.openssh import OpenSSH

if TYPE_CHECKING:
    from orchestrator.targets.ssh.paramiko_link import ParamikoLink


class Link:
    """Starts commands on fabric's connection until that turns out to be insufficient; then on OpenSSH's."""

    def __init__(self, ctx: Context, resolved: Resolved, openssh: OpenSSH) -> None:
        self._ctx = ctx
        self._resolved = resolved
        self._openssh = openssh
        self._fabric: ParamikoLink | None = None
        self._reason: str | None = None  # None until it was chosen; empty: fabric

    @property
    def reason_for_openssh(self) -> str:
        """Why OpenSSH is used; empty: fabric is."""
        if self._reason is None:
            if self._openssh.uses_users_master:
                self._reason = "your own ssh connection to it is open"
            else:
                self._reason = choice.reason_for_openssh(self._ctx, self._resolved)
        return self._reason

    def open(self, command: str) -> Pipe:
        if self.reason_for_openssh:
            return self._openssh.open(command)
        fabric = self._connection()
        try:
            return fabric.open(command)
        except choice.NeedsOpenSSH as error:
            fabric.close()
            pipe = self._openssh.open(command)  # if this fails too, its error is the one to report
            self._reason = error.reason
            if error.is_lasting:
                choice.remember(self._ctx, self._resolved, error.reason)
            return pipe

    def answers(self) -> bool:
        """Returns whether the host still answers. ServerAliveInterval ends a connection of OpenSSH if not."""
        return bool(self.reason_for_openssh) or self._connection().answers()

    def drop(self) -> None:
        self._openssh.drop()
        if self._fabric:
            self._fabric.drop()

    def close(self) -> None:
        self._openssh.close()
        if self._fabric:
            self._fabric.close()

    def _connection(self) -> ParamikoLink:
        if self._fabric is None:
            from orchestrator.targets.ssh.paramiko_link import ParamikoLink  # noqa: PLC0415 - 170 ms

            self._fabric = ParamikoLink(self._ctx, self._resolved)
        return self._fabric
