"""Security groups as a packet filter: packets that no rule allows are dropped, so connections time out."""

from __future__ import annotations

import ipaddress
import subprocess
import threading
from collections.abc import Iterable
from typing import Any

from tests.rigs import needs


class PacketFilter:
    """A table that the kernel removes with the process that owns it, however that process ends."""

    def __init__(self, table: str) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [str(needs.tool("nft")), "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._do(
            f"add table inet {table} {{ flags owner; }}",
            *(f"add set inet {table} {name} {{ type ipv4_addr; }}" for name in ("closed", "isolated")),
            *(
                f"add chain inet {table} {hook} {{ type filter hook {hook} priority -5; }}"
                for hook in ("input", "output")
            ),
            f"add rule inet {table} input ip daddr @closed tcp dport 22 drop",
            f"add rule inet {table} input ip daddr @isolated drop",
            f"add rule inet {table} output ip saddr @isolated drop",
        )

    def fill(self, name: str, addresses: Iterable[str]) -> None:
        """Set the addresses; in effect when this returns."""
        elements = ", ".join(sorted(addresses))
        add = [f"add element inet {self._table} {name} {{ {elements} }}"] if elements else []
        self._do(f"flush set inet {self._table} {name}", *add)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _do(self, *commands: str) -> None:
        """Run commands; the output of a final `list` shows that they are complete."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            lines = "\n".join([*commands, f"list set inet {self._table} closed", ""])
            self._process.stdin.write(lines)
            self._process.stdin.flush()
            for line in self._process.stdout:
                if "Error" in line:
                    raise RuntimeError(f"nft: {line.strip()}")
                if line.startswith("}"):
                    return
        raise RuntimeError("nft ended; the packet filter needs nftables 0.9.9 and Linux 5.12")


def admits(instance: Any, caller: str) -> bool:
    """Return whether a group of this instance allows `caller` to reach tcp/22."""
    address = ipaddress.ip_address(caller)
    of_cards = [group for card in instance.nics.values() for group in card.group_set]
    return any(
        _opens_ssh(rule) and address in ipaddress.ip_network(rule.ip_range["CidrIp"])
        for group in [*instance.security_groups, *of_cards]
        for rule in group.ingress_rules
        if rule.ip_range and rule.ip_range.get("CidrIp")
    )


def _opens_ssh(rule: Any) -> bool:
    if str(rule.ip_protocol) == "-1":
        return True
    return str(rule.ip_protocol) in ("tcp", "6") and int(rule.from_port) <= 22 <= int(rule.to_port)
