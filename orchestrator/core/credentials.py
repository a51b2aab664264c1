"""Files that hold credentials, told by their names and by their first bytes. Pure."""

from __future__ import annotations

import re

HEAD = 4096  # bytes of a file that `holds_credential` reads

# Folders of which no file is sent, wherever they are in a path.
_FOLDERS = (
    ".1password",
    ".aws",
    ".azure",
    ".config/1password",
    ".config/bravesoftware",
    ".config/chromium",
    ".config/doctl",
    ".config/gcloud",
    ".config/gh",
    ".config/github-copilot",
    ".config/glab-cli",
    ".config/google-chrome",
    ".config/hcloud",
    ".config/hub",
    ".config/op",
    ".config/rclone",
    ".config/vastai",
    ".gnupg",
    ".kaggle",
    ".kube",
    ".lambda_cloud",
    ".local/share/keyrings",
    ".minikube",
    ".mozilla",
    ".oci",
    ".password-store",
    ".runpod",
    ".ssh",
    ".terraform.d",
    ".thunderbird",
    "library/application support/firefox",
    "library/application support/google/chrome",
    "library/keychains",
)
_NAMES = """
    .authinfo .authinfo.gpg .bash_history .boto .dockercfg .env .envrc .git-credentials .htpasswd .my.cnf
    .mylogin.cnf .netrc .npmrc .passwd-s3fs .pgpass .psql_history .pypirc .python_history .s3cfg .vault-token
    .vast_api_key .xauthority .zsh_history _netrc accesskeys.csv application_default_credentials.json
    client_secret.json credentials.json id_dsa id_ecdsa id_ecdsa_sk id_ed25519 id_ed25519_sk id_rsa
    kaggle.json key3.db key4.db kubeconfig logins.json rclone.conf rootkey.csv service_account.json
    service-account.json terraform.tfstate terraform.tfstate.backup
"""
_PATTERNS = (
    ".env.*",
    "*_accesskeys.csv",
    "*.agekey",
    "*.jks",
    "*.kdbx",
    "*.keystore",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "client_secret_*.json",
)
_PATHS = (".docker/config.json", ".streamlit/secrets.toml", "huggingface/token", "huggingface/stored_tokens")
_EXAMPLES = (".example", ".sample", ".template", ".dist", ".defaults")  # of a .env, without its values
_SUFFIXES = "asc cer cfg conf crt gpg ini json key ovpn pem priv"
_GLOBS = [re.escape(pattern).replace(r"\*", "[^/]*") for pattern in _PATTERNS]
_ALL_FOLDERS = "|".join(map(re.escape, _FOLDERS))
_ALL_FILES = "|".join([*map(re.escape, [*_NAMES.split(), *_PATHS]), *_GLOBS])
_CREDENTIAL_PATH = re.compile(f"/(?:(?:{_ALL_FOLDERS})/|(?:{_ALL_FILES})$)")
_IN_FOLDER = re.compile(f"/(?:{_ALL_FOLDERS})/")
_SUFFIX_SET = frozenset(_SUFFIXES.split())
_PEM = rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_CREDENTIAL = re.compile(
    _PEM + rb"|\APuTTY-User-Key-File-|^AGE-SECRET-KEY-1|^\s*aws_secret_access_key\s*=\s*[A-Za-z0-9/+]{30}",
    re.MULTILINE,
)
_CHANGED_KEY = re.compile(rb"^[ +-].{0,200}" + _PEM, re.MULTILINE)


def has_credential_name(path: str) -> bool:
    """Whether a file at this relative path is one in which a program keeps keys, tokens or passwords."""
    path = f"/{path.lower()}"
    found = _CREDENTIAL_PATH.search(path)
    return found is not None and not (path.endswith(_EXAMPLES) and not _IN_FOLDER.search(path))


def is_of_credentials(folder: str) -> bool:
    """Whether a folder, or one that it is in, is one in which a program keeps its credentials."""
    return _IN_FOLDER.search(f"/{folder.lower()}/-") is not None


def may_hold_credential(path: str) -> bool:
    """Whether a file of this name is worth a look into it: keys have one of a few suffixes, or none."""
    stem, dot, suffix = path.rpartition("/")[2].lower().rpartition(".")
    return not (dot and stem) or suffix in _SUFFIX_SET


def holds_credential(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a private key, or of a file with an AWS secret."""
    return _CREDENTIAL.search(head) is not None


def without_private_keys(patch: bytes) -> bytes:
    """A patch of git without the files in which it adds, removes or shows a private key."""
    sections = re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE)
    return b"".join(section for section in sections if not _CHANGED_KEY.search(section))
