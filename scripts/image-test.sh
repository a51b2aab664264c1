#!/usr/bin/env bash
# Builds both images and runs them: gpujob in `cli`; in `host` a key login over loopback, and over it the
# trainers sent and one epoch trained. Exits 0 only when all of it holds.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$(scripts/image.sh)
engine=${built%% *}
started=$SECONDS
box=
trap '[ -z "$box" ] || buildah rm "$box" >/dev/null' EXIT

say() { printf '%s\n' "$*"; }

within() { # IMAGE SCRIPT [ARGUMENT]: the script runs in a fresh container, as the image's own user
  if [ "$engine" = docker ]; then
    docker run --rm -i --entrypoint sh "$1" -euc "$2" sh "${@:3}"
  else
    box=$(buildah from --pull-never "localhost/$1")
    # sshd confines itself with chroot, which docker allows a container and buildah has to be told
    buildah run --isolation chroot --cap-add CAP_SYS_CHROOT "$box" -- sh -euc "$2" sh "${@:3}"
    buildah rm "$box" >/dev/null
    box=
  fi
}

cli=$(cat <<'EOF'
die() { echo "cli: $*"; exit 1; }
[ "$(id -u)" != 0 ] || die "the user is root"
for tool in ssh rsync tmux git; do command -v "$tool" >/dev/null || die "no $tool"; done
! /opt/venv/bin/python3 -c 'import torch' 2>/dev/null || die "torch is in it"
[ -z "$(ls -A /run/pip 2>/dev/null)" ] || die "the pip configuration is in the image"
said=$(gpujob --version)
[ "$said" = "$1" ] || die "gpujob --version says $said, not $1"
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
    kill -0 "$server" 2>/dev/null || die "sshd ended"
    tries=$((tries + 1)); [ "$tries" -lt 100 ] || die "sshd does not answer"
    sleep 0.2
  done
}
[ -z "$(ls -A /run/pip 2>/dev/null)" ] || die "the pip configuration is in the image"
for key in /etc/ssh/ssh_host_* /etc/ssh/host/*; do [ ! -e "$key" ] || die "$key is in the image"; done
code=0; /usr/local/sbin/start >/tmp/refused 2>&1 || code=$?
[ "$code" = 2 ] || die "a start without a key gives $code: $(cat /tmp/refused)"

cd /root
ssh-keygen -q -t ed25519 -N '' -f key
ssh-keygen -q -t ed25519 -N '' -f stranger
mkdir /etc/gpujob
cp key.pub /etc/gpujob/authorized_keys
chown 12345 /etc/gpujob/authorized_keys   # a mounted file belongs to whoever made it
serve
echo "[127.0.0.1]:$port $(cut -d ' ' -f 1,2 /etc/ssh/host/ed25519.pub)" >/tmp/known_hosts
ssh="ssh -F none -p $port -o UserKnownHostsFile=/tmp/known_hosts -o StrictHostKeyChecking=yes -o BatchMode=yes"
ssh="$ssh -o IdentitiesOnly=yes -o ConnectTimeout=10"
box() { $ssh -i key gpujob@127.0.0.1 "$@" </dev/null; }
[ "$(box id -un)" = gpujob ] || die "the key login does not work"
! $ssh -i stranger gpujob@127.0.0.1 true 2>/dev/null || die "a stranger was let in"
! $ssh -i key root@127.0.0.1 true 2>/dev/null || die "root was let in"
offered=$($ssh -o PubkeyAuthentication=no gpujob@127.0.0.1 true 2>&1) && die "no key was asked for"
case $offered in *'(publickey)'*) ;; *) die "more than keys is offered: $offered" ;; esac
echo "host: sshd answers; the key logs in; a stranger, root and passwords do not"

kill "$server"; wait "$server" || true
serve
[ "$(box id -un)" = gpujob ] || die "the second start has another host key"
box 'tmux -L t new-session -d -s t "sleep 60" && tmux -L t has-session -t t && tmux -L t kill-server' \
  || die "tmux does not work"
echo "host: its key outlives a restart; tmux holds a session"

mkdir code
tar -x --no-same-owner -C code
rsync -a -e "$ssh -i key" code gpujob@127.0.0.1: || die "rsync does not work"
box 'cd code && python3 -m trainers prepare facenet-lstm --sample ~/sample --videos 120' >/tmp/prepare 2>&1 \
  || die "prepare: $(tail -n 5 /tmp/prepare)"
box 'cd code && export OMP_NUM_THREADS=1 GPUJOB_RUN_DIR="$HOME/box/runs/image-test" &&
  export GPUJOB_DATA="{\"ravdess\": \"$HOME/sample/ravdess\", \"crema\": \"$HOME/sample/crema\"}" &&
  export GPUJOB_CONFIG="{\"epochs\": 1, \"warmup_epochs\": 0, \"hidden\": [16], \"dense\": [16]}" &&
  python3 -m trainers train facenet-lstm' >/tmp/train 2>&1 || die "train: $(tail -n 5 /tmp/train)"
ended=$(box 'tail -n 1 box/runs/image-test/events.jsonl')
case $ended in *'"end"'*'"done"'*) ;; *) die "the last event is $ended" ;; esac
box 'cd code && python3 -m trainers verify ~/box/runs/image-test/checkpoints/last' >/tmp/verify 2>&1 \
  || die "verify: $(tail -n 5 /tmp/verify)"
torch=$(box 'python3 -c "import torch; print(torch.__version__)"')
echo "host: the trainers were sent, one epoch was trained with torch $torch, its checkpoint verified"
EOF
)

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' orchestrator/__init__.py)
within gpujob:cli "$cli" "gpujob $version"
say "cli: gpujob $version answers, as a user that is not root and without torch"
# buildah gives the container this machine's network: a port of its own choosing, beside any sshd of the machine
port=$((20000 + RANDOM % 10000))
within gpujob:host "$host" "$port" < <(tar -c --exclude=__pycache__ trainers)
say "both images hold, tested in $((SECONDS - started)) s:"
for name in gpujob:cli gpujob:host; do
  if [ "$engine" = docker ]; then
    docker image ls --format '  {{.Repository}}:{{.Tag}}  {{.Size}}' "$name"
  else
    buildah images --format '  {{.Name}}:{{.Tag}}  {{.Size}}' "localhost/$name"
  fi
done
