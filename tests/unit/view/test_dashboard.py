import io

import pytest

from orchestrator.core import events as ev
from orchestrator.core import runstate
from orchestrator.core.hostfacts import Machine, RunFacts
from orchestrator.view.dashboard import open_screen
from orchestrator.view.status import RunReport
from tests.support import new_client


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def picture(losses: list[float]) -> tuple[RunReport, tuple[ev.Event, ...], Machine]:
    """Return a live run with one progress event for each loss."""
    events = ev.parse(
        {"event": "progress", "step": step, "of": 9, "loss": loss} for step, loss in enumerate(losses)
    )
    state = runstate.Running(step=2, of=9, since=0.0, eta=None, attempt=1)
    return RunReport(RunFacts(id="job-1"), state), events, Machine(hostname="box", gpus=())


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ([2.0, 1.0, 1.5], "█▁▄                               1.5 (1 to 2)"),
        ([2.0, 1.0, float("nan")], "█▁×                               nan (1 to 2, 1 not finite)"),
        ([2.0, float("inf"), 1.0], "█×▁                               1 (1 to 2, 1 not finite)"),
        ([float("nan")] * 2, "××                                nan (2 not finite)"),
    ],
)
def test_a_training_that_diverges_stays_on_the_screen_and_shows_it(
    losses: list[float], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    with (
        new_client() as client,
        open_screen(client.context(stdout=out, env={"TERM": "xterm", "NO_COLOR": "1"})) as screen,
    ):
        screen.show(*picture(losses))
    assert line in out.getvalue()
