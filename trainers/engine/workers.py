"""What processes of a run that only help another one have in common. Standard library only."""

import signal


def let_the_parent_decide(worker: int = 0) -> None:
    """A stop reaches every process of a run; a helper that died of it would fail the last step."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
