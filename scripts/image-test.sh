#!/usr/bin/env bash
# Builds both images and tests them: gpujob in `cli`; in `host`, a login with a key over loopback, sending the trainers
# over it, and training one epoch. Exits 0 only if all of it succeeds.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$(scripts/image.sh)
engine=${built%% *}
started=$SECONDS
container=
trap '[ -z "$container" ] || buildah rm "$container" >/dev/null' EXIT

say() { printf '%s\n' "$*"; }

within() { # IMAGE SCRIPT [ARGUMENT]: runs the script in a new container, as the image's user
  if [ "$engine" = docker ]; then
    docker run --rm -i --entrypoint sh "$1" -euc "$2" sh "${@:3}"
  else
    container=$(buildah from --pull-never "localhost/$1")
    # sshd uses chroot, which docker allows in a container and buildah only with this capability
    buildah run --isolation chroot --cap-add CAP_SYS_CHROOT "$container" -- sh -euc "$2" sh "${@:3}"
    buildah rm "$container" >/dev/null
    container=
  fi
}

cli=$(cat <<'EOF'
die() { echo "cli: $*"; exit 1; }
[ "$(id -u)" != 0 ] || die "the user is root"
for tool in ssh rsync tmux git; do command -v "$tool" >/dev/null || die "$tool is missing"; done
! /opt/venv/bin/python3 -c 'import torch' 2>/dev/null || die "the image contains torch"
[ -z "$(ls -A /run/pip 2>/dev/null)" ] || die "the image contains the pip configuration"
version=$(gpujob --version)
[ "$version" = "$1" ] || die "gpujob --version prints $version, not $1"
gpujob --help >/dev/null
EOF
)

host=$(cat <<'EOF'
port=$1
die() { echo "host: $*"; [ ! -s /tmp/sshd ] || sed 's/^/  sshd: /' /tmp/sshd; exit 1; }
server=
trap '[ -z "$server" ] || kill "$server"' EXIT
serve() {
  /usr/local/sbin/start -p "$port" -o ListenAddress=127.0.0.1 >/tmp/sshd 2>&1 & server=$!
  tries=0
  until ssh-keyscan -p "$port" 127.0.0.1 2>/dev/null | grep -q .; do
    kill -0 "$server" 2>/dev/null || die "sshd exited"
    tries=$((tries + 1)); [ "$tries" -lt 100 ] || die "sshd does not answer"
    sleep 0.2
  done
}
[ -z "$(ls -A /run/pip 2>/dev/null)" ] || die "the image contains the pip configuration"
for key in /etc/ssh/ssh_host_* /etc/ssh/host/*; do [ ! -e "$key" ] || die "the image contains $key"; done
code=0; /usr/local/sbin/start >/tmp/refused 2>&1 || code=$?
[ "$code" = 2 ] || die "a start without a key exits with $code: $(cat /tmp/refused)"

cd /root
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -t ed25519 -N '' -f stranger
mkdir /etc/gpujob
cp key.pub /etc/gpujob/authorized_keys
chown 12345 /etc/gpujob/authorized_keys   # a mounted file keeps its owner
serve
echo "[127.0.0.1]:$port $(cut -d ' ' -f 1,2 /etc/ssh/host/ed25519.pub)" >/tmp/known_hosts
ssh="ssh -F none -p $port -o UserKnownHostsFile=/tmp/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes"
ssh="$ssh -o IdentitiesOnly=yes -o ConnectTimeout=10"
host() { $ssh -i key gpujob@127.0.0.1 "$@" </dev/null; }
[ "$(host id -un)" = gpujob ] || die "the login with the key fails"
! $ssh -i stranger gpujob@127.0.0.1 true 2>/dev/null || die "another key was accepted"
! $ssh -i key root@127.0.0.1 true 2>/dev/null || die "root could log in"
offered=$($ssh -o PubkeyAuthentication=no gpujob@127.0.0.1 true 2>&1) && die "a login without a key succeeded"
case $offered in *'(publickey)'*) ;; *) die "sshd offers more than keys: $offered" ;; esac
echo "host: sshd answers and accepts the key; it refuses other keys, root and passwords"

kill "$server"; wait "$server" || true
serve
[ "$(host id -un)" = gpujob ] || die "the host key changed at the second start"
host 'tmux -L t new-session -d -s t "sleep 60" && tmux -L t has-session -t t && tmux -L t kill-server' \
  || die "tmux fails"
echo "host: the host key survives a restart; tmux starts a session"

mkdir code
tar -x --no-same-owner -C code
rsync -a -e "$ssh -i key" code gpujob@127.0.0.1: || die "rsync fails"
host 'cd code && python3 -m trainers prepare facenet-lstm --sample ~/sample --videos 120' >/tmp/prepare 2>&1 \
  || die "prepare: $(tail -n 5 /tmp/prepare)"
host 'cd code && export OMP_NUM_THREADS=1 GPUJOB_RUN_DIR="$HOME/test/runs/image-test" &&
  export GPUJOB_DATA="{\"ravdess\": \"$HOME/sample/ravdess\", \"crema\": \"$HOME/sample/crema\"}" &&
  export GPUJOB_CONFIG="{\"epochs\": 1, \"warmup_epochs\": 0, \"hidden\": [16], \"dense\": [16]}" &&
  python3 -m trainers train facenet-lstm' >/tmp/train 2>&1 || die "train: $(tail -n 5 /tmp/train)"
last=$(host 'tail -n 1 test/runs/image-test/events.jsonl')
case $last in *'"end"'*'"done"'*) ;; *) die "the last event is $last" ;; esac
host 'cd code && python3 -m trainers verify ~/test/runs/image-test/checkpoints/last' >/tmp/verify 2>&1 \
  || die "verify: $(tail -n 5 /tmp/verify)"
torch=$(host 'python3 -c "import torch; print(torch.__version__)"')
echo "host: sent the trainers, trained one epoch with torch $torch, verified its checkpoint"
EOF
)

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' orchestrator/__init__.py)
within gpujob:cli "$cli" "gpujob $version"
say "cli: gpujob $version runs as a user other than root, without torch"
# buildah shares this machine's network with the container: use a port that no sshd of the machine uses
port=$((20000 + RANDOM % 10000))
within gpujob:host "$host" "$port" < <(tar -c --exclude=__pycache__ trainers)
say "both images passed in $((SECONDS - started)) s:"
for name in gpujob:cli gpujob:host; do
  if [ "$engine" = docker ]; then
    docker image ls --format '  {{.Repository}}:{{.Tag}}  {{.Size}}' "$name"
  else
    buildah images --format '  {{.Name}}:{{.Tag}}  {{.Size}}' "localhost/$name"
  fi
done
