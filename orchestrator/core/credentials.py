"""Files that hold credentials, told by their names and by their first bytes. Pure."""

from __future__ import annotations

import re

HEAD = 16384  # bytes of a file that `holds_credential` reads

# Folders of which no file is sent, wherever they are in a path.
_FOLDERS = (
    ".1password",
    ".aws",
    ".azure",
    ".config/1password",
    ".config/bravesoftware",
    ".config/chromium",
    ".config/configstore",
    ".config/doctl",
    ".config/fly",
    ".config/gcloud",
    ".config/gh",
    ".config/github-copilot",
    ".config/glab-cli",
    ".config/google-chrome",
    ".config/hcloud",
    ".config/hub",
    ".config/modal",
    ".config/op",
    ".config/rclone",
    ".config/vastai",
    ".fly",
    ".gnupg",
    ".kaggle",
    ".huggingface",
    ".kube",
    ".lambda_cloud",
    ".local/share/keyrings",
    ".minikube",
    ".mozilla",
    ".oci",
    ".password-store",
    ".runpod",
    ".snowflake",
    ".snowsql",
    ".ssh",
    ".terraform.d",
    ".thunderbird",
    "library/application support/firefox",
    "library/application support/google/chrome",
    "library/keychains",
)
_NAMES = """
    .authinfo .authinfo.gpg .bash_history .boto .comet.config .databrickscfg .dockercfg .env .envrc
    .git-credentials .htpasswd .modal.toml .my.cnf .mylogin.cnf .netrc .npmrc .passwd-s3fs .pgpass
    .psql_history .pypirc .python_history .s3cfg .smbcredentials .terraformrc .vast_api_key .vault-token
    .xauthority .zsh_history _netrc accesskeys.csv application_default_credentials.json clearml.conf
    client_secret.json credentials.json credentials.toml id_dsa id_ecdsa id_ecdsa_sk id_ed25519
    id_ed25519_sk id_rsa kaggle.json key3.db key4.db kubeconfig logins.json rclone.conf rootkey.csv
    secrets.json secrets.toml secrets.yaml secrets.yml service-account.json service_account.json
    terraform.tfstate terraform.tfstate.backup token.pickle
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
_PATHS = (
    ".cargo/credentials",
    ".composer/auth.json",
    ".config/git/credentials",
    ".docker/config.json",
    ".dstack/config.yml",
    ".gem/credentials",
    ".m2/settings.xml",
    "containers/auth.json",
    "huggingface/stored_tokens",
    "huggingface/token",
)
_EXAMPLES = (".example", ".sample", ".template", ".dist", ".defaults")  # of a .env, without its values
_SUFFIXES = "asc cer cfg conf crt gpg ini json key ovpn pem priv properties sh tfvars toml txt xml yaml yml"
_GLOBS = [re.escape(pattern).replace(r"\*", "[^/]*") for pattern in _PATTERNS]
_ALL_FOLDERS = "|".join(map(re.escape, _FOLDERS))
_ALL_FILES = "|".join([*map(re.escape, [*_NAMES.split(), *_PATHS]), *_GLOBS])
_CREDENTIAL_PATH = re.compile(f"/(?:(?:{_ALL_FOLDERS})/|(?:{_ALL_FILES})$)")
_IN_FOLDER = re.compile(f"/(?:{_ALL_FOLDERS})/")
_SUFFIX_SET = frozenset(_SUFFIXES.split())
_PEM = rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
_TOKEN = (  # as services form them; prose and identifiers do not match
    rb"\bgh[pousr]_[A-Za-z0-9]{30}|\bgithub_pat_\w{30}|\bglpat-[\w-]{20}|\bhf_[A-Za-z0-9]{30}"
    rb"|\bsk-(?:(?:ant|or|proj|svcacct)-[\w-]{16}|[A-Za-z0-9]{20})|\bxox[abeprs]-[\w-]{10}|\bAIza[\w-]{35}"
    rb"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|\bnpm_[A-Za-z0-9]{36}|\bpypi-[\w-]{50}|\bdapi[0-9a-f]{32}\b"
    rb"|hooks\.slack\.com/services/T|discord(?:app)?\.com/api/webhooks/[0-9]"
)
_AWS_SECRET = rb"(?i:aws_secret_access_key|secretaccesskey)['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9/+]{30}"
_CREDENTIAL = re.compile(
    b"|".join((_PEM, rb"\APuTTY-User-Key-File-", rb"^AGE-SECRET-KEY-1", _AWS_SECRET, _TOKEN)), re.MULTILINE
)
_CHANGED = re.compile(rb"^[ +-].{0,500}(?:" + b"|".join((_PEM, _AWS_SECRET, _TOKEN)) + rb")", re.MULTILINE)


def has_credential_name(path: str) -> bool:
    """Whether a file at this relative path is one in which a program keeps keys, tokens or passwords."""
    path = f"/{path.lower()}"
    found = _CREDENTIAL_PATH.search(path)
    return found is not None and not (path.endswith(_EXAMPLES) and not _IN_FOLDER.search(path))


def is_of_credentials(folder: str) -> bool:
    """Whether a folder, or one that it is in, is one in which a program keeps its credentials."""
    return _IN_FOLDER.search(f"/{folder.lower()}/-") is not None


def may_hold_credential(path: str) -> bool:
    """Whether a file of this name is worth a look into it: keys and settings have a few suffixes, or none."""
    stem, dot, suffix = path.rpartition("/")[2].lower().rpartition(".")
    return not (dot and stem) or suffix in _SUFFIX_SET


def holds_credential(head: bytes) -> bool:
    """Whether text contains a private key, an AWS secret, or a token of a form that only tokens have."""
    return _CREDENTIAL.search(head) is not None


def without_credentials(patch: bytes) -> bytes:
    """A patch of git without the files in which it adds, removes or shows a private key or a token."""
    sections = re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE)
    return b"".join(section for section in sections if not _CHANGED.search(section))
