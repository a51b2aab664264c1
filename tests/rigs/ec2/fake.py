"""FakeEC2: a test's handle on a simulated AWS account."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.rigs.ec2.settings import Settings
from tests.rigs.patience import PATIENCE, pauses
from tests.rigs.process import children, guarded

REPOSITORY = Path(__file__).parent.parent.parent.parent
START = "import sys; sys.path.insert(0, sys.argv[1]); from tests.rigs.ec2.server import main; main()"


class FakeEC2:
    """`with FakeEC2(kind="booted") as ec2:` is an empty account in all regions.

    Ends with the process that made it, and every machine with it. Start it in the main thread.
    """

    def __init__(self, **settings: Any) -> None:
        places = {Path(sys.prefix), Path(sys.base_prefix), REPOSITORY}
        hidden = [str(place) for place in sorted(places) if place.is_relative_to(tempfile.gettempdir())]
        self.settings = Settings(**{"visible": hidden, **settings})

    def __enter__(self) -> FakeEC2:
        self._errors = tempfile.TemporaryFile()
        own = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private"]
        words = [*own, "--mount-proc", sys.executable, "-c", START, str(REPOSITORY)]
        settings = json.dumps(asdict(self.settings))
        self._process = guarded([*words, settings], subprocess.PIPE, self._errors)
        reply = self._first_line()
        self.endpoint = f"http://127.0.0.1:{reply['port']}"
        self.slot = int(reply["slot"])
        return self

    def __exit__(self, *_: object) -> None:
        """The kernel ends what is left in the namespaces of the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    @property
    def env(self) -> dict[str, str]:
        """Return the environment variables that make a command use the rig as AWS."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "AKIARIGRIGRIGRIGRIGR",
            "AWS_SECRET_ACCESS_KEY": "rig-secret-canary",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def checkip_url(self) -> str:
        """The URL that replaces checkip.amazonaws.com."""
        return f"{self.endpoint}/_rig/checkip"

    def inject(
        self,
        action: str,
        code: str | None = None,
        *,
        service: str = "ec2",
        message: str = "injected by the rig",
        status: int | None = None,
        body: str | None = None,
        times: int = 1,
        after: bool = False,
        **match: str,
    ) -> None:
        """The next `times` calls of `action` fail.

        With `code`: an AWS error with its usual HTTP status. With `body`: these bytes (and 502 where no
        status is given). With neither: the connection is cut. `after`: the call is carried out first, so
        that only its answer is lost. `match`: only calls with this az, region, type or request parameter.
        `action` "*" means any.
        """
        self._ask(
            "inject",
            action=action,
            code=code,
            service=service,
            message=message,
            status=status,
            body=body,
            times=times,
            after=after,
            match=match,
        )

    def calls(self, action: str | None = None) -> list[dict[str, Any]]:
        """Return service, region, action, parameters and zone of each request so far, in order."""
        return [call for call in self._ask("calls") if action in (None, call["action"])]

    def machines(self) -> dict[str, dict[str, Any]]:
        """Return ip, on, off (see went_off), state, reason and root (path in the rig) of each machine."""
        return dict(self._ask("machines"))

    def states(self) -> dict[str, str]:
        """Return the state of every instance, including terminated ones."""
        return dict(self._ask("states"))

    def leftovers(self, key: str = "gpujob:managed", value: str | None = None) -> list[str]:
        """Return the ids of all resources with this tag in any region, except terminated instances."""
        return list(self._ask("leftovers", key=key, value=value))

    def existing(self) -> dict[str, dict[str, str]]:
        """Return kind → id → region of all that a launch could create and that exists, tagged or not."""
        return dict(self._ask("existing"))

    def set(self, **settings: Any) -> None:
        """Change Settings while the rig runs."""
        self._ask("set", **settings)

    def run(self, instance: str, *words: str, stdin: str = "", seconds: float = PATIENCE) -> tuple[int, str]:
        """Run a command as root in a machine, without SSH; return its exit code and output."""
        reply = self._ask("run", instance=instance, words=words, stdin=stdin, seconds=seconds)
        return reply["code"], reply["output"]

    def console(self, instance: str) -> str:
        return str(self._ask("console", instance=instance))

    def isolate(self, instance: str) -> None:
        """Drop every packet to and from the instance."""
        self._ask("isolate", instance=instance)

    def interrupt(self, instance: str, seconds: float = 120.0) -> None:
        """Send the spot notice now; after `seconds` stop or terminate it, as its spot request says."""
        self._ask("interrupt", instance=instance, seconds=seconds)

    def offer_capacity(self, instance: str) -> None:
        """Let EC2 start an interrupted instance of a persistent spot request again."""
        self._ask("offer_capacity", instance=instance)

    def spot_requests(self) -> list[dict[str, Any]]:
        """Return id, instance, state, valid_until, ... of each spot request."""
        return list(self._ask("spot"))

    def metadata_asked(self, instance: str) -> list[str]:
        """Return the paths requested from the instance's metadata service."""
        return list(self._ask("metadata", instance=instance))

    def went_off(self, instance: str) -> float | None:
        """Return when the machine last powered itself off, in epoch seconds, or None."""
        moment: float | None = self.machines()[instance]["off"]
        return moment

    def disk(self, instance: str) -> Path:
        """Return the root folder of the instance's disk, readable by this process."""
        inside = children(self._process.pid)[0]
        return Path(f"/proc/{inside}/root{self.machines()[instance]['root']}")

    def reset(self) -> None:
        """Empty the account and restore the initial settings."""
        self._ask("reset")
        self._ask("set", **asdict(self.settings))

    def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait for a condition on real machines; fail with `what` and their states."""
        end = time.monotonic() + PATIENCE
        for seconds in pauses(0.1):
            if value := condition():
                break
            assert time.monotonic() < end, f"not reached: {what or condition}; states {self.states()}"
            time.sleep(seconds)
        return value

    def _ask(self, word: str, **fields: Any) -> Any:
        request = urllib.request.Request(f"{self.endpoint}/_rig/{word}", json.dumps(fields).encode())
        with urllib.request.build_opener(_NoErrors).open(request, timeout=PATIENCE) as answer:
            reply = json.loads(answer.read())
            if answer.status >= 400:
                raise RuntimeError(f"the rig refused {word}: {reply}")
        return reply

    def _first_line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            self._process.kill()
            self._process.communicate()
            self._errors.seek(0)
            raise RuntimeError(f"the rig did not start: {self._errors.read().decode()[-2000:]}")
        return dict(json.loads(line))


class _NoErrors(urllib.request.HTTPErrorProcessor):
    """Returns HTTP errors as ordinary responses."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response
