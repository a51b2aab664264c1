#!/usr/bin/env bash
# Checks the system packages that gpujob needs: Python 3.10+ with venv, tmux, git, ssh, rsync. As root with apt it
# installs them, and what only the tests use (sshd, ip, locales, Chromium; for the simulated EC2 systemd-nspawn, nft, cloud-init, sudo).
# Otherwise it prints the command that installs them.
set -euo pipefail
python=${1:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
  echo "gpujob needs Python 3.10 or newer; $python is $("$python" -V 2>&1). Run: make PYTHON=python3.12 ..." >&2
  exit 1
}
missing=()
command -v tmux >/dev/null || missing+=(tmux)
command -v git >/dev/null || missing+=(git)
command -v ssh >/dev/null || missing+=(openssh-client)
# macOS has openrsync or 2.6.9, which lack options that gpujob uses.
[[ "$(rsync --version 2>/dev/null)" =~ ^rsync\ +version\ v?(3\.[1-9]|[4-9]) ]] || missing+=(rsync)
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
  [ -x /usr/sbin/nft ] || missing+=(nftables)
  [ -x /sbin/mkfs.ext4 ] || missing+=(e2fsprogs)
  command -v sudo >/dev/null || missing+=(sudo)
  # Ubuntu has Chromium as a snap only; without it and without Chrome, the tests with a browser are skipped there.
  command -v chromium >/dev/null || command -v chromium-headless-shell >/dev/null ||
    command -v google-chrome >/dev/null || ! grep -q '^ID=debian' /etc/os-release ||
    missing+=(chromium-headless-shell)
  [ -e /usr/share/i18n/locales/en_US ] || missing+=(locales)
  if ! command -v cloud-init >/dev/null; then
    missing+=(cloud-init)
    # The tests run cloud-init in containers only; it must not configure this machine at its next boot.
    mkdir -p /etc/cloud && touch /etc/cloud/cloud-init.disabled
  fi
fi
[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing ${missing[*]} with apt-get"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
elif command -v apt-get >/dev/null; then
  echo "missing: ${missing[*]}. Run: sudo apt-get install -y ${missing[*]}" >&2; exit 1
elif command -v brew >/dev/null; then
  echo "missing: ${missing[*]}. Run: brew install ${missing[*]}" >&2; exit 1
else
  echo "missing: ${missing[*]}. Install them with this system's package manager" >&2; exit 1
fi
