#!/usr/bin/env bash
# What the tool needs of the system: Python 3.10+ with venv, tmux, git, ssh, rsync. As root with apt it is installed,
# with the sshd and ip that only tests use; else one line says how.
set -euo pipefail
python=${1:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
  echo "gpujob needs Python 3.10 or newer; $python is $("$python" -V 2>&1). Try: make PYTHON=python3.12 ..." >&2
  exit 1
}
missing=()
command -v tmux >/dev/null || missing+=(tmux)
command -v git >/dev/null || missing+=(git)
command -v ssh >/dev/null || missing+=(openssh-client)
command -v rsync >/dev/null || missing+=(rsync)
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
  command -v ip >/dev/null || missing+=(iproute2)
fi
[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing ${missing[*]} with apt-get"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
elif command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}. Type: sudo apt-get install -y ${missing[*]}" >&2; exit 1
elif command -v brew >/dev/null; then
  echo "missing: ${missing[*]}. Type: brew install ${missing[*]}" >&2; exit 1
else
  echo "missing: ${missing[*]}. Install them with this system's package manager" >&2; exit 1
fi
