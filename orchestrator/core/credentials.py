"""Files that hold credentials, told by their names and by their first bytes. Pure."""

from __future__ import annotations

import codecs
import re
from functools import cache

from orchestrator.core.tokens import KEY_HEADER, TOKENS

HEAD = 16384  # bytes of a file that `holds_credential` reads
BUNDLE = 1 << 20  # bytes of a file of certificates that it reads: the key may follow them

# Folders of which no file is sent, wherever they are in a path.
_FOLDERS = """
    .1password .aws .azure .cloudflared .config/1password .config/bravesoftware .config/chromium
    .config/configstore .config/doctl .config/earthengine .config/fly .config/gcloud .config/gh
    .config/github-copilot .config/glab-cli .config/google-chrome .config/hcloud .config/hub
    .config/microsoft-edge .config/modal .config/ngrok .config/op .config/rclone .config/vastai .fly
    .gnupg .kaggle .huggingface .kube .lambda_cloud .local/share/keyrings .minikube
    .modelscope/credentials .mozilla .ngrok2 .oci .password-store .runpod .snowflake .snowsql .ssh
    .terraform.d .thunderbird library/keychains
"""
_FOLDERS_OF_MACS = (
    "library/application support/firefox",
    "library/application support/google/chrome",
)
_NAMES = """
    .authinfo .authinfo.gpg .boto .cdsapirc .comet.config .credentials .credentials.json .databrickscfg
    .dockercfg .ecmwfapirc .env .envrc .fetchmailrc .git-credentials .htpasswd .modal.toml .msmtprc .my.cnf
    .mylogin.cnf .netrc .npmrc .passwd-s3fs .pgpass .planet.json .pypirc .s3cfg .smbcredentials .synapseconfig
    .terraformrc .vast_api_key .vault-token .xauthority _netrc accesskeys.csv
    application_default_credentials.json clearml.conf client_secret.json client_secrets.json credentials.csv
    credentials.json credentials.toml docker-config.json fish_history id_dsa id_ecdsa id_ecdsa_sk id_ed25519
    id_ed25519_sk id_rsa jupyter_cookie_secret kaggle.json key3.db key4.db kubeconfig logins.json ngrok.yml
    oauth_creds.json rclone.conf rootkey.csv secrets.json secrets.toml secrets.yaml secrets.yml secring.gpg
    service-account.json service_account.json terraform.tfstate terraform.tfstate.backup token.pickle
    vault_pass.txt wallet.dat
"""
_PATTERNS = """
    .*_history .env.* .env-* .env_* .vault-pass* .vault_pass* *_accesskeys.csv *_credentials.csv *.agekey
    *.jks *.kdb *.kdbx *.keychain-db *.keystore *.p12 *.pfx *.ppk *.tfvars *.tfvars.json
    client_secret_*.json
"""
_PATHS = """
    .cargo/credentials .codex/auth.json .composer/auth.json .config/git/credentials
    .config/roboflow/config.json .config/ultralytics/settings.json .dbt/profiles.yml .determined/auth.json
    .docker/config.json .dstack/config.yml .dvc/config.local .gem/credentials .m2/settings.xml
    .mc/config.json .mlflow/credentials .prefect/profiles.toml containers/auth.json
    huggingface/stored_tokens huggingface/token
"""
_EXAMPLES = re.compile(r"[._-](?:example|sample|template|dist|defaults)\Z")  # of a .env, without its values
# Suffixes of code and of data, which are not looked into.
_OTHERS = """
    7z arrow avi bin bmp bz2 c cc ckpt cpp css csv cu cuh cxx flac gif go gz h h5 hdf5 hpp htm html ico ipynb
    java jpeg jpg js jsonl jsx jl lua m m4a md mkv ml mov mp3 mp4 npy npz onnx opus parquet pdf pickle pkl png
    pt pth py pyc pyd pyi pyx r rb rs rst safetensors scala scss so sql svg tar tex tfrecord tgz tif tiff ts
    tsv tsx ttf vue wav webm webp whl woff woff2 xz zip zst
"""
_COPY = r"(?:~|\.(?:backup|bak|copy|old|orig|save|\d+))"  # what editors and people add to a file's name
_OTHER_SET = frozenset(_OTHERS.split())
_ENVIRONMENT = re.compile(rf"\.env{_COPY}?\Z", re.IGNORECASE)
_TOKEN = b"|".join(form.pattern for form in TOKENS)
_AWS_SECRET = rb"(?i:secret_?access_?key)['\"]?\s*[=:]\s*['\"]?[A-Za-z0-9/+]{30}"
# A text that each credential of a form holds, in any case, and the form. Most files hold none of these texts,
# which are looked for at a hundredth of the time that the forms take.
_FORMS = (
    (b"private key", KEY_HEADER),
    (b"putty-user-key-file-", rb"\APuTTY-User-Key-File-"),
    (b"age-secret-key-1", rb"^AGE-SECRET-KEY-1"),
    (b"privatekey", rb"^PrivateKey\s*=\s*[A-Za-z0-9+/]{43}="),  # of WireGuard
    (b"secret", _AWS_SECRET),
    (b"accountkey=", rb"\bAccountKey=[A-Za-z0-9+/]{40}"),  # of Azure's storage
    (
        b"refresh_token",
        rb"['\"]?\brefresh_token['\"]?\s*[:=]\s*['\"][\w/.+-]{24}",
    ),  # as OAuth clients keep it
    *((form.literal.lower(), form.pattern) for form in TOKENS),
)


# Patterns are compiled when the first name or file is looked at: that takes longer than many a command.


@cache
def _paths() -> re.Pattern[str]:
    globs = [re.escape(pattern).replace(r"\*", "[^/]*") for pattern in _PATTERNS.split()]
    files = "|".join([*map(re.escape, [*_NAMES.split(), *_PATHS.split()]), *globs])
    return re.compile(f"{_folders().pattern}|/(?:{files}){_COPY}?$")


@cache
def _folders() -> re.Pattern[str]:
    return re.compile(f"/(?:{'|'.join(map(re.escape, [*_FOLDERS.split(), *_FOLDERS_OF_MACS]))})/")


@cache
def _changed_lines() -> re.Pattern[bytes]:
    return re.compile(
        rb"^[ +-].{0,500}(?:" + b"|".join((KEY_HEADER, _AWS_SECRET, _TOKEN)) + rb")", re.MULTILINE
    )


def has_credential_name(path: str) -> bool:
    """Whether a file at this relative path is one in which a program keeps keys, tokens or passwords."""
    path = f"/{path.lower()}"
    match = _paths().search(path)
    return match is not None and not (_EXAMPLES.search(path) and not _folders().search(path))


def is_of_credentials(folder: str) -> bool:
    """Whether a folder, or one that it is in, is one in which a program keeps its credentials."""
    return _folders().search(f"/{folder.lower()}/-") is not None


def is_environment(path: str) -> bool:
    """Whether a file holds variables, as its name says."""
    return _ENVIRONMENT.search(path) is not None


def is_bundle(head: bytes) -> bool:
    """Whether a file begins as one of certificates and keys, in any order."""
    return head.lstrip().startswith(b"-----BEGIN ")


def may_hold_credential(path: str) -> bool:
    """Whether a file of this name is worth a look into it: it is not plainly code or data."""
    stem, dot, suffix = path.rpartition("/")[2].lower().rpartition(".")
    return not (dot and stem) or suffix not in _OTHER_SET


def holds_credential(head: bytes) -> bool:
    """Whether text contains a private key, an AWS secret, or a token of a form that only tokens have."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.replace(b"\0", b"")
    lower = head.lower()
    return any(text in lower and re.search(form, head, re.MULTILINE) for text, form in _FORMS)


def without_credentials(patch: bytes) -> bytes:
    """A patch of git without the files in which it adds, removes or shows a private key or a token."""
    sections = re.split(rb"^(?=diff --git )", patch, flags=re.MULTILINE)
    return b"".join(section for section in sections if not _changed_lines().search(section))
