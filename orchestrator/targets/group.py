"""Several hosts as one target: each has all of a run over them, so the first one that answers will do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from orchestrator.context import Context
from orchestrator.core import groups
from orchestrator.errors import GpujobError, NotFound, Unreachable
from orchestrator.targets.base import Host, Target


class GroupTarget(Target):
    """Connects to the host of rank 0, or to the next one that answers."""

    def __init__(self, ctx: Context, targets: Sequence[Target]) -> None:
        self._ctx = ctx
        self.targets = tuple(targets)

    @property
    def label(self) -> str:
        return groups.join([target.label for target in self.targets])

    @contextlib.contextmanager
    def connect(self) -> Iterator[Host]:
        with contextlib.ExitStack() as stack:
            yield self._first(stack)

    @contextlib.contextmanager
    def connect_started(self) -> Iterator[Host]:
        """Starts the first instance that can be, at a price that the user confirms, if none is up."""
        with contextlib.ExitStack() as stack:
            try:
                host = self._first(stack)
            except (Unreachable, NotFound):
                if not all(target.is_instance for target in self.targets):
                    raise
                host = self._first_started(stack)
            yield host

    def _first_started(self, stack: contextlib.ExitStack) -> Host:
        errors: list[GpujobError] = []
        for target in self.targets:
            try:
                return stack.enter_context(target.connect_started())
            except (Unreachable, NotFound) as error:
                errors.append(error)
        raise errors[0]

    def _first(self, stack: contextlib.ExitStack) -> Host:
        errors: list[GpujobError] = []
        for target in self.targets:
            with contextlib.ExitStack() as attempt:
                try:
                    host = attempt.enter_context(target.connect())
                    host.ask("status", runs=[], lines=0)
                except (Unreachable, NotFound) as error:
                    errors.append(error)
                    self._ctx.warn(f"{target.label} does not answer: {error.what}: {error.why}")
                    continue
                stack.push(attempt.pop_all())
                return host
        raise errors[0]
