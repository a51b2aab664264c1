"""gpujob's known_hosts file, with several concurrent clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from orchestrator.targets.ssh import address, hostkeys
from orchestrator.targets.ssh.hostkeys import HostKey
from tests.support import Client, new_client

MEET = """#!/bin/sh
for word; do
  case $word in UserKnownHostsFile=*) file=${word#*=} ;; one|two) host=$word ;; esac
done
echo "$host ssh-ed25519 key-of-$host" >>"$file"
touch "$HOME/$host.seen"
for n in $(seq 500); do [ -e "$HOME/one.seen" ] && [ -e "$HOME/two.seen" ] && exit 255; sleep 0.01; done
"""


@pytest.fixture
def client() -> Iterator[Client]:
    with new_client() as new:
        yield new


def host(name: str) -> address.Resolved:
    output = f"user ana\nhostname {name}\nport 22\nidentityagent none\n"
    return address.parse_config(address.parse(name), output, "/home/ana", None)


def side_by_side(count: int, take: Callable[[int], None]) -> None:
    together = threading.Barrier(count)

    def go(number: int) -> None:
        together.wait()
        take(number)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(go, range(count)))


def test_concurrent_writers_keep_all_their_keys(client: Client) -> None:
    def take(number: int) -> None:
        ctx = client.context()
        for round_ in range(10):
            hostkeys.record(ctx, host(f"h{number}-{round_}"), HostKey("ssh-ed25519", "AAAA"))
            hostkeys.record(ctx, host(f"gone{number}"), HostKey("ssh-ed25519", "AAAA"))
            hostkeys.forget(ctx, f"gone{number}")

    side_by_side(8, take)
    file = hostkeys.own_file(client.context())
    assert sorted(line.split()[0] for line in file.read_text().splitlines()) == sorted(
        f"h{number}-{round_}" for number in range(8) for round_ in range(10)
    )
    assert {path.name for path in file.parent.iterdir()} == {"known_hosts", "known_hosts.lock"}


def test_concurrent_clients_of_two_hosts_get_the_key_of_each(client: Client) -> None:
    fake = client.home / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text(MEET)
    fake.chmod(0o755)
    client.env["PATH"] = f"{fake.parent}:{client.env['PATH']}"
    names, shown = ["one", "two"], {}

    def look(number: int) -> None:
        shown[names[number]] = hostkeys.offered(client.context(), host(names[number]))

    side_by_side(2, look)
    assert shown == {name: HostKey("ssh-ed25519", f"key-of-{name}") for name in names}


def test_a_suggested_command_quotes_the_host() -> None:
    to = host("ana@box")
    to = msgspec.structs.replace(to, typed=address.parse("DOM\\ana@box"))
    error = hostkeys.refuse(to, HostKey("ssh-ed25519", "AAAA"), [])
    assert "gpujob hosts attach 'DOM\\ana@box' --fingerprint SHA256:" in error.next_step
