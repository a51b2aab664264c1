"""The simulation's own API for tests: POST /_rig/WORD with JSON, answered in JSON."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from tests.rigs.ec2.faults import Answer, Rule, error
from tests.rigs.ec2.fleet import Member, later

if TYPE_CHECKING:
    from tests.rigs.ec2.control import ControlPlane


class Desk:
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def answer(self, word: str, fields: dict[str, Any]) -> Answer:
        if word == "checkip":
            return Answer(200, "text/plain", self._plane.fleet.settings.caller.encode() + b"\n")
        try:
            reply = getattr(self, f"_do_{word}")(**fields)
        except Exception as error:  # reported to the test that made the request
            return Answer(400, "application/json", json.dumps(f"{type(error).__name__}: {error}").encode())
        return Answer(200, "application/json", json.dumps(reply).encode())

    def _do_inject(
        self,
        action: str,
        code: str | None,
        service: str,
        message: str,
        status: int | None,
        body: str | None,
        times: int,
        after: bool,
        match: dict[str, str],
    ) -> None:
        if body is not None:
            answer = Answer(status or 502, "text/html", body.encode())
        elif code is not None:
            answer = error(service, code, message, status)
        else:
            answer = Answer(0, cut=True)
        self._plane.faults.add(Rule(action, answer, times, after, match))

    def _do_calls(self) -> list[dict[str, Any]]:
        return [vars(call) for call in self._plane.calls]

    def _do_set(self, **settings: Any) -> None:
        for name, value in settings.items():
            if not hasattr(self._plane.fleet.settings, name):
                raise KeyError(name)
            setattr(self._plane.fleet.settings, name, value)
        self._plane.fleet.sync_groups()

    def _do_machines(self) -> dict[str, Any]:
        return {
            name: {
                "ip": member.ip,
                "on": member.machine.pid is not None,
                "off": member.machine.went_off,
                "state": member.instance._state.name,
                "reason": member.instance.state_reason.code,
                "root": str(member.machine.root),
            }
            for name, member in self._plane.fleet.members().items()
        }

    def _do_states(self) -> dict[str, str]:
        """Return the states of all instances, including terminated ones."""
        return {i.id: i._state.name for backend in _backends() for i in _instances(backend)}

    def _do_leftovers(self, key: str, value: str | None) -> list[str]:
        """Return the ids of all remaining resources with this tag, in every region."""
        ids = []
        for backend in _backends():
            for thing in [*_instances(backend), *_others(backend)]:
                tags = {tag["key"]: tag["value"] for tag in thing.get_tags()}
                ended = getattr(getattr(thing, "_state", None), "name", "") == "terminated"
                if key in tags and value in (None, tags[key]) and not ended:
                    ids.append(str(thing.id))
        return sorted(ids)

    def _do_existing(self) -> dict[str, dict[str, str]]:
        """Return kind → id → region of all that a launch could create and that exists, tagged or not."""
        found: dict[str, dict[str, str]] = {"instance": {}, "volume": {}, "interface": {}, "group": {}}
        found |= {"request": {}, "key pair": {}, "launch template": {}}
        for backend in _backends():
            region = backend.region_name
            live = [one for one in _instances(backend) if one._state.name != "terminated"]
            groups = [
                one.id
                for of_vpc in backend.groups.values()
                for one in of_vpc.values()
                if one.name != "default"
            ]
            found["instance"] |= {one.id: region for one in live}
            found["volume"] |= dict.fromkeys(backend.volumes, region)
            found["interface"] |= dict.fromkeys(backend.enis, region)
            found["group"] |= dict.fromkeys(groups, region)
            found["key pair"] |= dict.fromkeys(backend.key_pairs, region)
            found["launch template"] |= dict.fromkeys(backend.launch_templates, region)
        for request in self._plane.fleet.spot.requests.values():
            if request.state != "cancelled":
                found["request"][request.id] = request.region
        return found

    def _do_run(self, instance: str, words: list[str], stdin: str, seconds: float) -> dict[str, Any]:
        code, output = self._member(instance).machine.run(words, stdin.encode(), seconds)
        return {"code": code, "output": output.decode(errors="replace")}

    def _do_console(self, instance: str) -> str:
        return self._member(instance).machine.console().decode(errors="replace")

    def _do_isolate(self, instance: str) -> None:
        self._plane.fleet.isolate(instance)

    def _do_interrupt(self, instance: str, seconds: float) -> None:
        """Send a spot notice now, and take the capacity back after `seconds`; the last call counts."""
        member, request = self._member(instance), self._plane.fleet.spot.of(instance)
        action = "stop" if request and request.stops else "terminate"
        member.metadata.announce_end(time.time() + seconds, action)
        notice = member.metadata.notice

        def end() -> None:
            if self._plane.fleet.member(instance) is member and member.metadata.notice is notice:
                member.metadata.notice = {}
                self._plane.fleet.lifecycle.interrupt(member.instance)

        later(seconds, end)

    def _do_offer_capacity(self, instance: str) -> None:
        """Start an instance that was interrupted again."""
        self._plane.fleet.lifecycle.offer_capacity(self._member(instance).instance)

    def _do_spot(self) -> list[dict[str, Any]]:
        return [vars(request) for request in self._plane.fleet.spot.requests.values()]

    def _do_metadata(self, instance: str) -> list[str]:
        return self._member(instance).metadata.asked

    def _do_reset(self) -> None:
        """Restore the initial state except for the settings, without EC2's delays."""
        self._plane.fleet.clear()
        for backend in _backends():
            backend.reset()
        self._plane.faults.rules.clear()
        self._plane.calls.clear()
        self._plane.tokens.clear()
        self._plane.visibility.reset()

    def _member(self, instance: str) -> Member:
        member = self._plane.fleet.member(instance)
        if member is None:
            raise KeyError(f"no machine of {instance}")
        return member


def _backends() -> list[Any]:
    return list(ec2_backends[DEFAULT_ACCOUNT_ID].values())


def _instances(backend: Any) -> list[Any]:
    return [i for reservation in backend.reservations.values() for i in reservation.instances]


def _others(backend: Any) -> list[Any]:
    groups = [group for of_vpc in backend.groups.values() for group in of_vpc.values()]
    return [*backend.volumes.values(), *backend.enis.values(), *backend.key_pairs.values(), *groups]
