#!/usr/bin/env bash
# Builds the images of the Dockerfile, with docker if its engine answers, otherwise with buildah. Prints progress on
# stderr, and on stdout one line per image: the engine and the image's name.
#   BASE, HOST_BASE, CONSTRAINTS   see the Dockerfile
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=${BASE:-$(sed -n 's/^ARG BASE=//p' Dockerfile)}
HOST_BASE=${HOST_BASE:-$BASE}
TORCH_CPU_INDEX=$(sed -n 's/^TORCH_CPU_INDEX := //p' Makefile)
export BUILDAH_ISOLATION=chroot
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

talk() { printf '%s\n' "$*" >&2; }
fail() { talk "$@"; exit 1; }

need() { # COMMAND: installs the Debian package of the same name, if allowed
  command -v "$1" >/dev/null && return
  command -v apt-get >/dev/null || fail "docker is not running and $1 is not installed: start docker, or install $1"
  [ "$(id -u)" = 0 ] || fail "missing: $1. Run: sudo apt-get install -y $1"
  talk "installing $1 with apt-get"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1"; } >/dev/null
}

# Writes this machine's pip configuration for the build to mount: options, certificates, local wheels.
pip_context() { # FOLDER
  command -v python3 >/dev/null || return 0
  python3 - "$1" <<'EOF'
import ast, os, shutil, subprocess, sys
from pathlib import Path
from urllib.parse import urlsplit

TAKEN = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "retries", "proxy")
to, inside = Path(sys.argv[1]), "/run/pip"
listing = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
pairs = [line.partition("=") for line in listing.splitlines() if "=" in line]
options = {}
for name, _, value in sorted(pairs, key=lambda pair: pair[0].startswith(":env:")):  # the environment wins
    section, _, key = name.rpartition(".")
    if section in ("global", "install", ":env:"):
        options[key] = ast.literal_eval(value)
for key in (*TAKEN, "cert"):  # if this machine has no pip
    variable = os.environ.get("PIP_" + key.replace("-", "_").upper())
    if variable:
        options[key] = variable


def local(word):
    """The path that a value of the configuration names, or None."""
    address = urlsplit(word)
    return Path(address.path).expanduser() if address.scheme in ("", "file") else None


def wheels(word):
    """The value for the build: a folder of wheels is linked or copied, a URL is kept, None is left out."""
    path = local(word)
    if path is None:
        return word
    if not path.exists():
        return None
    folder = f"wheels/{len(list(to.glob('wheels/*')))}"
    link = os.link if os.stat(path).st_dev == os.stat(to).st_dev else shutil.copy2
    try:
        shutil.copytree(path, to / folder, copy_function=link)
    except (OSError, shutil.Error):  # hard links are not allowed
        shutil.rmtree(to / folder, ignore_errors=True)
        shutil.copytree(path, to / folder)
    return f"{inside}/{folder}"


def index(word):
    """The value for the build: an index that is a local folder is left out, because it may be large."""
    if local(word) is None:
        return word
    print(f"not used in the build: {word}, a folder of this machine", file=sys.stderr)
    return None


lines = ["[global]"]
for key in TAKEN:
    words = options.get(key, "").split()
    if key == "find-links":
        words = [wheels(word) for word in words if Path(word).is_dir() or local(word) is None]
    elif key.endswith("index-url"):
        words = [index(word) for word in words]
    words = [word for word in words if word]
    if words:
        lines.append(f"{key} = " + "\n    ".join(words))
bundles = [options.get("cert"), *map(os.environ.get, ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))]
for bundle in filter(None, [*bundles, "/etc/ssl/certs/ca-certificates.crt"]):
    if Path(bundle).is_file():
        shutil.copyfile(bundle, to / "ca.crt")
        lines.append(f"cert = {inside}/ca.crt")
        break
(to / "pip.conf").write_text("\n".join(lines) + "\n")
EOF
}

# If python:*-slim-* cannot be pulled, an image of Debian with its own Python replaces it.
ensure_pulled() { # IMAGE: fails if it is absent and cannot be pulled
  if [ "$engine" = docker ]; then
    docker image inspect "$1" >/dev/null 2>&1 || docker pull --quiet "$1" >/dev/null 2>"$scratch/why"
  else
    buildah pull --quiet --policy missing "$1" >/dev/null 2>"$scratch/why"
  fi
}

build_substitute() { # SUITE IMAGE
  need mmdebstrap
  local path=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container
  # shellcheck disable=SC2016  # the hook expands $1; it removes this machine's name server
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
    --customize-hook='rm -f "$1/etc/hostname" "$1/etc/resolv.conf"' "$1" "$scratch/base.tar" >&2
  if [ "$engine" = docker ]; then
    docker import --change "ENV $path" --change 'CMD ["python3"]' "$scratch/base.tar" "$2" >/dev/null
  else
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$scratch/base.tar" / >/dev/null
    buildah config --env "$path" --cmd python3 "$container"
    buildah commit --quiet --rm --format docker "$container" "$2" >/dev/null
  fi
  rm -f "$scratch/base.tar"
}

base() { # IMAGE: prints the image to build on
  local suite name
  if ensure_pulled "$1"; then echo "$1"; return; fi
  case $1 in
    python:*-slim-*) suite=${1##*-} name=localhost/gpujob-substitute:${1##*-} ;;
    *) fail "the base image $1 cannot be pulled: $(tail -n 1 "$scratch/why")" ;;
  esac
  talk "$1 cannot be pulled ($(tail -n 1 "$scratch/why" | cut -c 1-200))"
  talk "using Debian $suite with its own Python instead, as $name"
  if [ "$engine" = docker ]; then
    docker image inspect "$name" >/dev/null 2>&1 || build_substitute "$suite" "$name"
  else
    buildah inspect --type image "$name" >/dev/null 2>&1 || build_substitute "$suite" "$name"
  fi
  echo "$name"
}

build() { # STAGE: prints the engine and the image's name
  local words=(--target "$1" --tag "gpujob:$1" --build-context "pip=$scratch/pip"
    --build-arg "BASE=$BASE" --build-arg "HOST_BASE=$HOST_BASE" --build-arg "TORCH_CPU_INDEX=$TORCH_CPU_INDEX")
  [ -z "${CONSTRAINTS:-}" ] || words+=(--build-arg "CONSTRAINTS=$CONSTRAINTS")
  talk "building gpujob:$1 with $engine"
  if [ "$engine" = docker ]; then
    local name
    for name in HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
      [ -z "${!name:-}" ] || words+=(--build-arg "$name")
    done
    docker buildx build --load "${words[@]}" . >&2
    echo "docker gpujob:$1"
  else
    buildah build --format docker --layers --pull-never "${words[@]}" . >&2
    echo "buildah localhost/gpujob:$1"
  fi
}

if docker info >/dev/null 2>&1; then
  engine=docker
  docker buildx version >/dev/null 2>&1 || fail "docker has no buildx, which the build needs: install docker-buildx-plugin"
else
  engine=buildah
  need buildah
fi
mkdir "$scratch/pip"
pip_context "$scratch/pip"
requested=$BASE
BASE=$(base "$requested")
if [ "$HOST_BASE" = "$requested" ]; then HOST_BASE=$BASE; else HOST_BASE=$(base "$HOST_BASE"); fi
build cli
build host
