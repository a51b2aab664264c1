"""A new host key for a box whose first one came in user-data, where others may have read it.

Three steps, each of which may be repeated: `make` and read the new public key over the pinned connection;
add it to known_hosts beside the old one; `switch`, log in again, and drop the old one. sshd offers one key
a type, so it is the client that knows both in between.
"""

from __future__ import annotations

_KEY = "/etc/ssh/ssh_host_ed25519_key"
_MAKE = f"""
[ -s {_KEY}.next.pub ] || {{ rm -f {_KEY}.next; ssh-keygen -q -t ed25519 -N "" -C "" -f {_KEY}.next; }}
cat {_KEY}.next.pub
"""
_SWITCH = f"""
if [ -s {_KEY}.next ]; then mv -f {_KEY}.next {_KEY}; fi
if [ -s {_KEY}.next.pub ]; then mv -f {_KEY}.next.pub {_KEY}.pub; fi
systemctl reload ssh 2>/dev/null || systemctl reload sshd 2>/dev/null || kill -HUP "$(cat /run/sshd.pid)"
at=$(sshd -T 2>/dev/null | sed -n 's/^listenaddress \\([0-9.]*\\):.*/\\1/p' | head -n 1)
key=$(cut -d ' ' -f 2 {_KEY}.pub)
for _ in $(seq 50); do
  ssh-keyscan -T 2 -t ed25519 "${{at:-127.0.0.1}}" 2>/dev/null | grep -qF "$key" && exit
  sleep 0.1
done
echo "sshd does not offer its new key" >&2
exit 1
"""


def make() -> list[str]:
    """Words that print the next public key, `ssh-ed25519 BASE64`; the same one until it is switched to."""
    return _as_root(_MAKE)


def switch() -> list[str]:
    """Words that make sshd offer the next key: it does when they end, and the old one is gone."""
    return _as_root(_SWITCH)


def _as_root(script: str) -> list[str]:
    return ["sudo", "-n", "sh", "-ec", script]
