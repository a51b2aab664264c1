"""SSH keys for tests: made by ssh-keygen, named by their fingerprints."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path
from typing import Literal

Kind = Literal["ed25519", "rsa"]


def make_key(path: Path, kind: Kind = "ed25519", passphrase: str = "") -> Path:
    """Create a key pair at `path` and `path`.pub, replacing an existing one.

    RSA keys have 2048 bits and the PEM form of a cloud's .pem file; making one takes 0.1 to 0.5 s.
    """
    form = ["-b", "2048", "-m", "PEM"] if kind == "rsa" else []
    public_half(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    words = ["ssh-keygen", "-q", "-t", kind, *form, "-N", passphrase, "-C", "", "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return path


def public_half(path: Path) -> Path:
    return path.with_name(path.name + ".pub")


def public_key(path: Path) -> str:
    """Return the public key `TYPE BASE64` of the pair at `path`, without its comment."""
    return " ".join(public_half(path).read_text().split()[:2])


def fingerprint(public: str) -> str:
    """Return the fingerprint `SHA256:...` of a `TYPE BASE64` key, as ssh-keygen -l prints it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
